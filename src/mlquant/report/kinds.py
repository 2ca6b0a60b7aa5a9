"""What the report shows of each kind of result: tables, figures, and the facts that its sentences are filled with.

A function a kind, from a folder of tables to `facts` and `tables`. Ours stand beside what the original published.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from mlquant.core.disk import read_json, require
from mlquant.core.errors import InputError
from mlquant.core.figures import read_table

PUBLISHED = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))

_TITLES = {  # of studies that have none of their own
    "latents": "What the latents look like",
    "noise": "Noise, and the bits of a quantiser with no larger an error",
    "uniform_vq": "Bits of the two quantisers",
    "vq": "Survivors of the search",
    "analog": "Latents as symbols, bits as symbols",
    "bits": "What bits buy",
}

Column = tuple[str, Iterable, str]  # heading, values, format


def part_of(entry: dict, settings: dict, base: Path) -> dict:
    """What the page says of an experiment, study or sweep; links are relative to the folder `base`."""
    folder = Path(entry["folder"])
    networks = {name: settings["networks"][name] for name in entry["networks"]}
    quantisers = {name: one for name, one in settings["quantisers"].items() if name in entry.get("quantisers", ())}
    kind = entry["settings"]["kind"] if entry["kind"] == "study" else entry["kind"]
    if kind not in KINDS:
        raise InputError(f"{folder}: kind {kind!r}, expected one of {', '.join(KINDS)}")
    facts, tables = KINDS[kind](folder, entry)
    return {
        **entry,
        "text": kind,
        "title": entry["settings"].get("title") or _TITLES.get(kind, entry["name"]),
        "anchor": f"{entry['kind']}-{entry['name']}",
        "network_table": _networks(networks),
        "used": networks,
        "quantised": quantisers,
        "facts": facts,
        "tables": [one for one in tables if one["rows"]],
        "figures": [{"name": path.stem, "uri": _data_uri(path)} for path in _figures(folder, entry["kind"], kind)],
        "link": quote(os.path.relpath(folder, base)),
    }


def shown(value: object, spec: str = "") -> str:
    """A value as the page shows it, by a format: nothing for what is not there."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str) or spec in ("", "s"):
        return str(value)
    return f"{value:{spec}}"


def _table(caption: str, *columns: Column, source: str = "", marked: Iterable[bool] = ()) -> dict:
    """A table of columns; those without a value are left out. `marked` says which rows are the original's."""
    cells = [(head, [shown(value, spec) for value in values], spec == "s") for head, values, spec in columns]
    kept = [column for column in cells if any(column[1])]
    rows = [*zip(*(column for _, column, _ in kept), strict=True)]
    beside = any(marked) or any(head.startswith("published") for head, *_ in kept)
    return {
        "caption": caption,
        "heads": [head for head, *_ in kept],
        "texts": [text for *_, text in kept],  # columns of words, not of numbers
        "rows": rows,
        "marked": [*marked] or [False] * len(rows),
        "source": source if beside else "",
    }


def _rows(path: Path, *columns: str) -> pd.DataFrame:
    """A table with these columns and at least one row."""
    table = read_table(path, *columns)
    if table.empty:
        raise InputError(f"{path}: has no rows, expected at least one")
    return table


def _data_uri(path: Path) -> str:
    """A figure as a text that an <img> shows. No script in an SVG runs there, and nothing is loaded from elsewhere."""
    mime = {".svg": "image/svg+xml", ".png": "image/png"}[path.suffix]
    try:
        return f"data:{mime};base64,{base64.b64encode(path.read_bytes()).decode()}"
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None


def _figures(folder: Path, what: str, kind: str) -> list[Path]:
    """The figures of a result."""
    if what == "experiment":
        return sorted(folder.glob("*_losses.png"))
    return [folder / f"{'losses' if what == 'sweep' else kind}.svg"]


def _networks(networks: dict) -> dict:
    """Settings of networks, a row each, and beneath it those of the original where they are known."""
    rows, marked = [], []
    for name, settings in networks.items():
        known = PUBLISHED["networks"]["settings"].get(name)
        design = f"{settings['family']} {settings['nn']}"
        rows += [{**settings, "name": name, "design": design}, *([{**known, "name": "published"}] if known else [])]
        marked += [False, *([True] if known else [])]
    columns = [(head, [row.get(key) for row in rows], spec) for head, key, spec in _NETWORK_COLUMNS]
    columns.insert(5, ("loss", [_loss(row) for row in rows], "s"))
    return _table("Networks", *columns, source=PUBLISHED["networks"]["source"], marked=marked)


_NETWORK_COLUMNS = (
    *(("network", "name", "s"), ("design", "design", "s"), ("d", "d", "d"), ("frames", "ncat", "d")),
    *(("noise", "noise_var", "g"), ("optimiser", "optimiser", "s"), ("rate", "lr", "g"), ("batch", "batch", "d")),
    *(("epochs", "epochs", "d"), ("corpus", "corpus", "s")),
)


def _loss(settings: dict) -> str | None:
    if settings.get("loss") == "wloss" and "gamma" in settings:
        return f"wloss {settings['gamma']:g}"
    return settings.get("loss")


def _key(value: float) -> str:
    """A number as tables hold it, to find the same in another."""
    return f"{value:.6g}"


# --- studies -----------------------------------------------------------------------------------------------


def demo(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    summary = _rows(folder / "summary.csv", "set", "sd_dB2").set_index("set")["sd_dB2"]
    frames = _rows(folder / "frames.csv", "time_s", "energy_dB", "sd_dB2")
    losses = _rows(folder / "losses.csv", "epoch", "held_out_sd_dB2")
    if missing := {"training", "held_out", "sample"} - {*summary.index}:
        raise InputError(f"{folder}/summary.csv: has no set {min(missing)}, expected one as of mlquant study")
    facts = {**summary, "epochs": len(losses), "first": losses["held_out_sd_dB2"].iloc[0], "frames": len(frames)}
    names = {"training": "training frames", "held_out": "held-out frames", "sample": "the sample's speech"}
    rows = [(names.get(name, name), value) for name, value in summary.items()]
    return facts, [_table("Mean SD of b_hat", ("of", [r[0] for r in rows], "s"), ("dB²", [r[1] for r in rows], ".2f"))]


def latents(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    dimensions = _rows(folder / "dimensions.csv", "share", "components")
    pca = _rows(folder / "pca.csv", "component", "share")
    correlation = _rows(folder / "correlation.csv", "lag_frames", "lag_ms", "mean")
    later, low = correlation[correlation["lag_frames"] > 0], correlation[correlation["mean"] < 0.5]
    facts = {
        "d": len(pca),
        "dimensions": dimensions.to_dict("records"),
        "first": pca["share"].iloc[0],
        "lag_ms": later["lag_ms"].iloc[0],
        "correlation": later["mean"].iloc[0],
        "half_ms": low["lag_ms"].iloc[0] if len(low) else None,
        "last_ms": correlation["lag_ms"].iloc[-1],
    }
    some = later[later["lag_frames"].isin([1, 2, 3, 5, 10, 20, 50])]
    shares = ("share of the variance", dimensions["share"], ".0%"), ("components", dimensions["components"], "g")
    lags = ("lag (ms)", some["lag_ms"], "g"), ("mean correlation", some["mean"], ".2f")
    return facts, [_table(f"Principal components of {len(pca)} latents", *shares), _table("Latents over time", *lags)]


def noise(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    table = _rows(
        folder / "noise.csv", "noise_var", "sd_training_dB2", "sd_held_out_dB2", "vq_bits", "vq_stages", "bit_per_s"
    ).sort_values("noise_var")
    known = {_key(row["noise_var"]): row for row in PUBLISHED["noise"]["rows"]}
    beside = [known.get(_key(value), {}) for value in table["noise_var"]]
    few, many = table.iloc[0], table.iloc[-1]
    reached = table.dropna(subset=["vq_bits"])
    facts = {
        "low": few.to_dict(),
        "high": many.to_dict(),
        "known": beside[-1].get("sd_dB2"),
        "reached": len(reached),
        "finest": reached.iloc[0].to_dict() if len(reached) else None,
        "finest_known": known.get(_key(reached["noise_var"].iloc[0]), {}).get("vq_bits") if len(reached) else None,
    }
    columns = [
        ("noise variance", table["noise_var"], "g"),
        ("SD training (dB²)", table["sd_training_dB2"], ".2f"),
        ("SD held out (dB²)", table["sd_held_out_dB2"], ".2f"),
        ("published SD", [row.get("sd_dB2") for row in beside], ".2f"),
        ("VQ bits", table["vq_bits"], "g"),
        ("published bits", [row.get("vq_bits") for row in beside], "d"),
        ("stages", table["vq_stages"], "g"),
        ("published stages", [row.get("vq_stages") for row in beside], "d"),
        ("bit/s", table["bit_per_s"], "g"),
        ("published bit/s", [row.get("bit_per_s") for row in beside], "d"),
    ]
    caption = "SD with noise on the latents, and the fewest bits of a quantiser whose error is no larger"
    return facts, [_table(caption, *columns, source=PUBLISHED["noise"]["source"])]


def uniform_vq(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    needed = _rows(folder / "needed.csv", "variance", "uniform_bits", "vq_bits", "saving_bits")
    table = _rows(folder / "uniform_vq.csv", "quantiser", "measured_on", "bits_per_frame", "variance")
    pairs = {
        name: part.set_index("bits_per_frame")["variance"] for name, part in table.groupby(["quantiser", "measured_on"])
    }
    if missing := {("uniform", "theory"), ("uniform", "held_out"), ("vq", "held_out")} - {*pairs}:
        raise InputError(
            f"{folder}/uniform_vq.csv: has no rows {', '.join(min(missing))}, expected those of mlquant study"
        )
    theory, held_out, vq_held = pairs["uniform", "theory"], pairs["uniform", "held_out"], pairs["vq", "held_out"]
    width = theory.index[0]  # bits a frame at one bit an element
    each = [f"{bits / width:g}" for bits in theory.index]
    known = {_key(row["noise_var"]): row.get("vq_bits") for row in PUBLISHED["noise"]["rows"]}
    saved = needed.dropna(subset=["saving_bits"])
    facts = {
        "saved": len(saved),
        "least": saved["saving_bits"].min(),
        "most": saved["saving_bits"].max(),
        "last_bits": vq_held.index[-1],
        "last": vq_held.iloc[-1],
        # A uniform quantiser of as many bits, between whole bits an element.
        "uniform": _interpolated(vq_held.index[-1], held_out),
    }
    uniform = [
        ("bits an element", each, "s"),
        ("bits a frame", theory.index, "g"),
        ("variance in theory", theory, ".4f"),
        ("published", [PUBLISHED["uniform"]["variance"].get(bits) for bits in each], ".4f"),
        ("measured, held out", held_out.reindex(theory.index), ".4f"),
    ]
    vq_rows = ("bits a frame", vq_held.index, "g"), ("variance, held out", vq_held, ".4f")
    bits = [
        ("variance", needed["variance"], "g"),
        ("uniform quantiser", needed["uniform_bits"], ".1f"),
        ("VQ", needed["vq_bits"], ".1f"),
        ("published VQ", [known.get(_key(value)) for value in needed["variance"]], "d"),
        ("saved", needed["saving_bits"], ".1f"),
    ]
    return facts, [
        _table("Bits a frame for an error of this variance", *bits, source=PUBLISHED["noise"]["source"]),
        _table("Uniform quantiser of each element", *uniform, source=PUBLISHED["uniform"]["source"]),
        _table("Stages of the vector quantiser", *vq_rows),
    ]


def _interpolated(bits: float, variance: pd.Series) -> float | None:
    """Variance at so many bits, log-linear between those measured; None outside of them."""
    if not variance.index.min() <= bits <= variance.index.max():
        return None
    return float(np.exp(np.interp(bits, variance.index, np.log(variance))))


def vq(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    table = _rows(folder / "vq.csv", "stages", "mbest", "mse", "gain_dB")
    gains, errors = (table.pivot(index="mbest", columns="stages", values=value) for value in ("gain_dB", "mse"))
    best = table.loc[table["gain_dB"].idxmax()]
    near = table[(table["stages"] == best["stages"]) & (table["gain_dB"] >= 0.9 * best["gain_dB"])]
    facts = {"best": best.to_dict(), "near": near.iloc[0].to_dict()}
    columns: list[Column] = [("survivors", gains.index, "d")]
    for stages in gains:
        columns += [(f"{stages} stages: error", errors[stages], ".3g"), ("gain (dB)", gains[stages], ".2f")]
    return facts, [_table("Mean squared error of a held-out latent, and gain on one survivor", *columns)]


def analog(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    table = _rows(folder / "analog.csv", "scheme", "d", "trained", "snr_dB", "bit_error_rate", "sd_dB2")
    table["trained"] = table["trained"].fillna("")
    how = {"plain": ", trained without noise", "matched": ", trained with noise", "": ""}
    trained = table["trained"].map(lambda word: how.get(word, f", {word}"))
    table["label"] = table["scheme"] + ", d = " + table["d"].astype(str) + trained
    sd = table.pivot_table(index="snr_dB", columns="label", values="sd_dB2", sort=False).sort_index()
    errors = table[table["scheme"] == "digital"].set_index("snr_dB")["bit_error_rate"].reindex(sd.index)
    digital, best_analog = (
        table[table["scheme"] == scheme].groupby("snr_dB")["sd_dB2"].min().reindex(sd.index)
        for scheme in ("digital", "analog")
    )
    better = digital < best_analog
    lost = [*better.index[~better]]  # ratios at which the bits do worse
    from_on = [snr for snr in better.index if not lost or snr > max(lost)]
    facts = {
        "ends": [_least(sd, digital, snr) for snr in (sd.index[0], sd.index[-1])],
        "digital_from": from_on[0] if from_on else None,
        "wavs": sorted(path.name for path in folder.glob("*.wav")),
    }
    columns = [
        ("SNR (dB)", sd.index, "g"),
        *((name, sd[name], ".4g") for name in sd),
        ("bit error rate", errors, ".2g"),
    ]
    return facts, [_table("SD (dB²) against the signal to noise ratio of a symbol", *columns)]


def bits(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    needs = ("source", "kind", "entries", "stages", "interval_ms", "bit_per_s", "sd_b_unseen_dB2", "sd_unseen_dB2")
    table = _rows(folder / "bits.csv", *needs, "pesq", "on_front")
    anchors = table["source"].isin(["codec2", "reference"])
    ours, codec2 = table[~anchors & table["pesq"].notna()], table[table["source"] == "codec2"]
    front = ours[ours["on_front"]]
    modes = []
    for mode in codec2.to_dict("records"):
        within, good = ours[ours["bit_per_s"] <= mode["bit_per_s"]], ours[ours["pesq"] >= mode["pesq"]]
        best = within.loc[within["pesq"].idxmax()].to_dict() if len(within) else {}
        modes.append({**mode, "best": best, "as_good": good["bit_per_s"].min() if len(good) else None})
    whole = table[(table["source"] == "reference") & (table["kind"] == "ideal_y")]["pesq"]
    facts = {
        "rows": int((~anchors).sum()),
        "samples": [name.removeprefix("pesq_") for name in table if name.startswith("pesq_")],
        "highest": ours.loc[ours["pesq"].idxmax()].to_dict() if len(ours) else None,
        "ideal": whole.iloc[0] if len(whole) else None,
        "modes": [mode for mode in modes if shown(mode["pesq"]) and mode["best"]],
    }
    best = [
        ("quantised", front["source"], "s"),
        ("kind", front["kind"], "s"),
        ("entries", front["entries"], "g"),
        ("stages", front["stages"], "g"),
        ("in ms", front["interval_ms"], "g"),
        ("bit/s", front["bit_per_s"], "g"),
        ("SD of b, other voices (dB²)", front["sd_b_unseen_dB2"], ".2f"),
        ("SD, other voices (dB²)", front["sd_unseen_dB2"], ".2f"),
        ("PESQ", front["pesq"], ".2f"),
    ]
    beside = [
        ("Codec 2", [mode["kind"] for mode in modes], "s"),
        ("bit/s", [mode["bit_per_s"] for mode in modes], "g"),
        ("PESQ", [mode["pesq"] for mode in modes], ".2f"),
        ("best PESQ of no more bit/s", [mode["best"].get("pesq") for mode in modes], ".2f"),
        ("of", [_chain(mode["best"]) for mode in modes], "s"),
        ("its bit/s", [mode["best"].get("bit_per_s") for mode in modes], "g"),
        ("PESQ as high from, bit/s", [mode["as_good"] for mode in modes], "g"),
    ]
    caption = "What no other has a higher mean PESQ than, of as few bit/s"
    return facts, [_table(caption, *best), _table("Beside the modes of Codec 2", *beside)]


def _chain(row: dict) -> str:
    """What was quantised and how, in words."""
    return f"{row['source']}, {row['kind']}, {row['interval_ms']:g} ms" if row else ""


def _least(sd: pd.DataFrame, digital: pd.Series, snr: float) -> dict:
    """The scheme of least SD at a ratio, and the SD of the digital one."""
    return {"snr": snr, "name": sd.loc[snr].idxmin(), "sd": sd.loc[snr].min(), "digital": digital[snr]}


# --- sweeps ------------------------------------------------------------------------------------------------


def sweep(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    needs = ("variant", "label", "final_sd_dB2", "final_held_out_sd_dB2", "best_held_out_sd_dB2", "epochs_trained")
    table = _rows(folder / "summary.csv", *needs, "failed", "seconds")
    first = table.columns.get_loc("label") + 1
    settings = (
        table.iloc[:, first : table.columns.get_loc("final_loss")] if "final_loss" in table else table.iloc[:, :0]
    )
    varied = [name for name in settings if settings[name].nunique(dropna=False) > 1]
    fixed = {name: settings[name].iloc[0] for name in settings if name not in varied}
    good = table[table["failed"].isna()].sort_values("final_held_out_sd_dB2")
    bad = table[table["failed"].notna()]
    facts = {
        "variants": len(table),
        "varied": varied,
        "fixed": {name: _setting(value) for name, value in fixed.items()},
        "failed": [{"label": row.label, "why": row.failed} for row in bad.itertuples()],
        "best": good.iloc[0].to_dict() if len(good) else None,
        "worst": good.iloc[-1].to_dict() if len(good) > 1 else None,
    }
    columns = [
        ("variant", good["label"], "s"),
        ("SD training (dB²)", good["final_sd_dB2"], ".2f"),
        ("SD held out (dB²)", good["final_held_out_sd_dB2"], ".2f"),
        ("best held out", good["best_held_out_sd_dB2"], ".2f"),
        ("epochs", good["epochs_trained"], "d"),
        ("seconds", good["seconds"], ".0f"),
    ]
    return facts, [_table("Variants, best first", *columns)]


def _setting(value: object) -> str:
    """A setting in words; nothing for what is off or not there."""
    off = isinstance(value, bool | np.bool_) and not value
    return "" if off else shown(value, "g" if isinstance(value, float) else "")


# --- experiments -------------------------------------------------------------------------------------------


def experiment(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    needs = ("bits_per_frame", "frame_ms", "bit_per_s", "pesq", "stoi", "estoi", "sd_dB2")
    means = _rows(folder / "means.csv", "group", "index", "tag", "samples", *needs)
    measures = _rows(folder / "measures.csv", "sample", "index", "tag", "sd_dB2", "sd_voiced_dB2")
    provenance = read_json(folder / "provenance.json")
    require(provenance, f"{folder}/provenance.json", "experiment", "left_out")
    known = PUBLISHED["experiments"].get(PUBLISHED["repeated"].get(entry["name"], entry["name"]), {})
    outputs = entry["settings"]["outputs"]
    means = means.drop_duplicates(["group", "index", "tag"]).set_index(["group", "index", "tag"])

    def column(measure: str, group: str = "all") -> list:
        found = means[measure] if measure in means else pd.Series(dtype=float)
        return [found.get((group, output["index"], output["tag"])) for output in outputs]

    pesq, beside = column("pesq"), column("published_pesq")
    for i, output in enumerate(outputs):
        if not shown(beside[i]) and (mean := known.get("pesq", {}).get(str(output["index"]))) is not None:
            beside[i] = mean
    index = ("index", [output["index"] for output in outputs], "d")
    legend = [
        index,
        ("tag", [output["tag"] for output in outputs], "s"),
        ("processing", [output["processing"] for output in outputs], "s"),
        ("what it shows", [output["shows"] for output in outputs], "s"),
        ("bits", column("bits_per_frame"), "g"),
        ("in ms", column("frame_ms"), "g"),
        ("bit/s", column("bit_per_s"), "g"),
        ("published verdict", [known.get("verdict", {}).get(str(output["index"])) for output in outputs], "s"),
    ]
    measured = any(map(shown, column("published_pesq")))
    said = known.get("source", "")
    source = f"the same measures of the wavs in {entry['settings'].get('published')}" if measured else said
    overall = [index, ("PESQ", pesq, ".2f"), ("published PESQ", beside, ".2f")]
    for name, measure, spec in (("STOI", "stoi", ".3f"), ("ESTOI", "estoi", ".3f"), ("LSD (dB)", "lsd_dB", ".2f")):
        overall += [(name, column(measure), spec), (f"published {name}", column(f"published_{measure}"), spec)]
    overall.append(("SD (dB²)", column("sd_dB2"), ".2f"))
    sexes = [index]
    for measure, name, spec in (("pesq", "PESQ", ".2f"), ("sd_dB2", "SD (dB²)", ".2f")):
        for group in ("male", "female"):
            sexes.append((f"{name} {group}", column(measure, group), spec))
            sexes.append((f"published {name} {group}", column(f"published_{measure}", group), spec))
    facts = _experiment_facts(outputs, pesq, beside, column)
    facts |= {
        "left_out": provenance["left_out"],
        "key": provenance.get("key"),
        "samples": [*dict.fromkeys(measures["sample"])],
    }
    facts |= {"revision": provenance.get("versions", {}).get("revision"), "published_samples": known.get("samples")}
    tables = [
        _table("What each index is", *legend, source=known.get("verdict_source", "")),
        _table("Means over all samples", *overall, source=source),
        _table("Means by sex", *sexes, source=source),
    ]
    for place, samples in known.get("sd_dB2", {}).items():
        rows = measures[measures["index"] == int(place)]
        sd = [
            ("sample", rows["sample"], "s"),
            ("all frames", rows["sd_dB2"], ".2f"),
            ("voiced frames", rows["sd_voiced_dB2"], ".2f"),
            ("published", [samples.get(name) for name in rows["sample"]], ".2f"),
        ]
        tables.append(_table(f"SD (dB²) of index {place} by sample", *sd, source=known["sd_source"]))
    return facts, tables


def _experiment_facts(outputs: list[dict], pesq: list, beside: list, column) -> dict:
    """What to say of an experiment's outputs: the best, the worst, each step's cost, how far from the published."""
    rows = [
        {**output, "pesq": value, "published": other}
        for output, value, other in zip(outputs, pesq, beside, strict=True)
    ]
    for group in ("male", "female"):
        for row, value in zip(rows, column("pesq", group), strict=True):
            row[group] = value
    heard = [row for row in rows if shown(row["pesq"])]
    coded = [row for row in heard if row["process"] == "vocoder"]
    both = [row for row in heard if shown(row["published"])]
    steps = []
    for row in coded[1:]:
        step = {"index": row["index"], "from": coded[0]["index"], "all": row["pesq"] - coded[0]["pesq"]}
        steps.append(
            step | {group: row[group] - coded[0][group] if shown(row[group]) else None for group in ("male", "female")}
        )
    return {
        "highest": max(coded, key=lambda row: row["pesq"], default=None),
        "lowest": min(coded, key=lambda row: row["pesq"], default=None),
        "anchors": [row for row in heard if row["process"] == "codec2"],
        "steps": steps,
        "farthest": max(both, key=lambda row: abs(row["pesq"] - row["published"]), default=None),
    }


KINDS = {one.__name__: one for one in (demo, latents, noise, uniform_vq, vq, analog, bits, sweep, experiment)}
