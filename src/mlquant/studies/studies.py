"""The studies: what noise on latents costs, what quantisers need, how latents look and travel, what bits buy.

Vectors are those that a network is trained on, the held-out share apart; a `thresh` in the settings, as a quantiser
has one, takes the place of the network's. `frame_ms` is the time of a vector. Sources: mlquant.tex and analog.tex.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mlquant.chains import coder
from mlquant.core import disk, figures, records
from mlquant.core.errors import InputError
from mlquant.core.records import FRAME, SAMPLE_RATE
from mlquant.networks import dense, inference, training
from mlquant.quantisers import vq as quantiser
from mlquant.studies import channel
from mlquant.vocoder import decoder, features
from mlquant.vocoder.features import energy_dB


def make(settings: dict, folder: Path) -> None:
    """Write the tables, figures and speech of a study into `folder`; InputError for settings that it cannot use."""
    kinds = {study.__name__: study for study in (noise, uniform_vq, latents, analog, vq, demo, bits)}
    if (kind := settings["kind"]) not in kinds:
        raise InputError(f"kind: found {kind!r}, expected one of {', '.join(kinds)}")
    if kind != "bits" and not settings.get("features"):
        raise InputError("features: none, expected at least one file")
    try:
        for name, table in kinds[kind](settings).items():
            disk.write_text(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))
        if kind == "analog":
            analog_wavs(settings, folder)
    except KeyError as error:
        raise InputError(f"settings: have no {error}, expected those of a study of kind {kind}") from None
    figures.plot_study(kind, folder)


def noise(settings: dict) -> dict[str, pd.DataFrame]:
    """SD with noise of each of `noise_vars` on the latents, and the fewest bits of a VQ with no more variance."""
    network, trained, *sets = _sets(settings)
    trace, rows = chained(settings["traces"]), []
    for noise_var in settings["noise_vars"]:
        rng, sd = np.random.default_rng(settings["seed"]), []  # the same draws for each variance, scaled
        for latents, target in sets:
            noisy = latents + np.sqrt(noise_var, dtype="f4") * rng.standard_normal(latents.shape, np.float32)
            sd.append(_sd_dB2(trained, network.decode(noisy), target))
        good = trace[(trace["variance"] <= noise_var) & (noise_var > 0)]
        rows.append((noise_var, *sd, good["bits"].min(), good["stages"].min()))
    table = pd.DataFrame(rows, columns=["noise_var", "sd_training_dB2", "sd_held_out_dB2", "vq_bits", "vq_stages"])
    return {"noise": table.assign(bit_per_s=table["vq_bits"] * 1000 / settings["frame_ms"])}


def uniform_vq(settings: dict) -> dict[str, pd.DataFrame]:
    """Variance of a uniform quantiser of each element and of a VQ against bits, and what both need for a variance."""
    *_, (latents, _) = _sets(settings)
    trace, d, rows = chained(settings["traces"]), latents.shape[1], []
    for bits in range(1, 6):
        error = quantiser.mean_squared_error(latents, quantiser.uniform(latents, bits))
        rows += [("uniform", "theory", d * bits, 1 / (3 * 4**bits)), ("uniform", "held_out", d * bits, error)]
    rows += [("vq", "training", *row) for row in zip(trace["bits"], trace["variance"], strict=True)]
    codebooks = [records.read_f32(path, d) for path in settings["codebooks"]]
    for used in (codebooks[: i + 1] for i in range(len(codebooks))):
        decoded = quantiser.decode(quantiser.search(latents, used, settings["mbest"]), used)
        bits = sum(np.log2(len(codebook)) for codebook in used)
        rows.append(("vq", "held_out", bits, quantiser.mean_squared_error(latents, decoded)))
    variance = np.array([3e-4, 1e-3, 1.5e-3, 3e-3, 1e-2])  # the bottleneck noises of mlquant.tex
    rising, uniform_bits = trace.sort_values("variance"), d * np.log2(1 / np.sqrt(3 * variance))
    vq_bits = np.interp(np.log(variance), np.log(rising["variance"]), rising["bits"], left=np.nan, right=np.nan)
    needed = {"variance": variance, "uniform_bits": uniform_bits, "vq_bits": vq_bits}
    table = pd.DataFrame(rows, columns=["quantiser", "measured_on", "bits_per_frame", "variance"])
    return {"uniform_vq": table, "needed": pd.DataFrame(needed).assign(saving_bits=uniform_bits - vq_bits)}


def latents(settings: dict) -> dict[str, pd.DataFrame]:
    """Latents of all frames: principal components, correlation over time, histograms, and a stretch of most energy."""
    network, trained = inference.load(settings["weights"])
    key, width = ("features", 22) if network.row.source == "b" else ("targets", 79)
    feature_records = [records.read_f32(path, width) for path in settings[key]]
    runs = [inference.encode(network, trained, array) for array in feature_records]
    vectors, step, lags = np.concatenate(runs), settings["frame_ms"], np.arange(settings["lags"] + 1)
    elements = [f"element_{i + 1}" for i in range(vectors.shape[1])]
    share, shares = component_shares(vectors), np.array([0.90, 0.95, 0.99])
    pca = {"component": 1 + np.arange(len(share)), "share": share, "cumulative_share": share.cumsum()}
    dimensions = {"share": shares, "components": 1 + np.searchsorted(share.cumsum(), shares)}
    values = pd.DataFrame(correlations(runs, settings["lags"]), columns=elements)
    correlation = {"lag_frames": lags, "lag_ms": lags * step, "mean": values.mean(axis=1), **values}
    energy = energy_dB(inference.spectrum(feature_records[0]))[:: trained["ncat"]]
    length = min(round(settings["seconds"] * 1000 / step), len(energy))
    start = np.convolve(energy, np.ones(length), "valid").argmax()
    values = pd.DataFrame(runs[0][start : start + length], columns=elements)
    stretch = {"time_s": (start + values.index) * step / 1000, **values}
    edges = np.linspace(min(-1, vectors.min()), max(1, vectors.max()), 41)
    density = np.stack([np.histogram(element, edges, density=True)[0] for element in vectors.T])
    element, middle = np.indices(density.shape).reshape(2, -1)
    histogram = {"element": 1 + element, "latent": (edges[middle] + edges[middle + 1]) / 2, "density": density.ravel()}
    tables = dict(pca=pca, dimensions=dimensions, correlation=correlation, stretch=stretch, histogram=histogram)
    return {name: pd.DataFrame(table) for name, table in tables.items()}


def analog(settings: dict) -> dict[str, pd.DataFrame]:
    """SD on held-out vectors of latents sent as symbols, and of a VQ's bits as QPSK; matched networks at their SNR."""
    rows = []
    for entry in [*settings["networks"], settings["quantiser"]]:
        network, trained, _, (latents, target) = _sets({**settings, **entry})
        own, scheme = entry.get("snr_dB"), "digital" if "codebooks" in entry else "analog"
        kind = (scheme, latents.shape[1], "" if scheme == "digital" else "plain" if own is None else "matched")
        for snr_dB in settings["snr_dB"] if own is None else [own]:
            received, symbols, *counted = _received(entry, latents, snr := 10 ** (snr_dB / 10), settings["seed"])
            wide = channel.snr_in_bandwidth(snr, symbols, settings["frame_ms"] / 1000, settings["bandwidth"])
            sd = _sd_dB2(trained, network.decode(received), target)
            rows.append((*kind, snr_dB, 10 * np.log10(wide), *counted, sd))
    columns = ["scheme", "d", "trained", "snr_dB", f"snr_{settings['bandwidth']:g}_dB", "Es"]
    return {"analog": pd.DataFrame(rows, columns=[*columns, "bit_error_rate", "bit_error_rate_theory", "sd_dB2"])}


def analog_wavs(settings: dict, folder: Path) -> None:
    """Write the sample at each of `wav_snr_dB`, through the matched network of the first d and through the VQ."""
    b, y = records.read_features(settings["b"]), records.read_f32(settings["y"], 79)
    model, manifold = records.read_model(settings["model"]), inference.load(settings["manifold"])
    d, matched = settings["networks"][0]["d"], {(entry["d"], entry["snr_dB"]): entry for entry in settings["networks"]}
    for snr_dB in settings["wav_snr_dB"]:
        if (d, snr_dB) not in matched:
            raise InputError(f"wav_snr_dB: found {snr_dB:g}, but no network of d {d} is trained for it")
        for entry in (matched[d, snr_dB], settings["quantiser"]):
            network = inference.load(entry["weights"])
            latents, snr = inference.encode(*network, b), 10 ** (snr_dB / 10)
            received, symbols, *_ = _received(entry, latents, snr, settings["seed"])
            y_hat = inference.infer(*manifold, inference.decode(*network, received, b), y)
            speech = decoder.decode([model], y_hat)
            scheme = f"digital_vq{2 * symbols:g}" if "codebooks" in entry else f"analog_d{d}"
            records.write_speech(folder / f"{settings['sample']}_{scheme}_{snr_dB:g}dB.wav", speech)


def vq(settings: dict) -> dict[str, pd.DataFrame]:
    """Error on held-out latents against the survivors of the M-best search, and the gain on one survivor."""
    *_, (latents, _) = _sets(settings)
    codebooks, rows = [records.read_f32(path, latents.shape[1]) for path in settings["codebooks"]], []
    for used in (codebooks[:stages] for stages in settings["stages"]):
        for mbest in sorted({1, *settings["mbest"]}):
            decoded = quantiser.decode(quantiser.search(latents, used, mbest), used)
            rows.append((len(used), mbest, quantiser.mean_squared_error(latents, decoded)))
    table = pd.DataFrame(rows, columns=["stages", "mbest", "mse"])
    alone = table.groupby("stages")["mse"].transform("first")
    return {"vq": table.assign(gain_dB=10 * np.log10(alone / table["mse"]))}


def demo(settings: dict) -> dict[str, pd.DataFrame]:
    """What a network from b to b_hat does to a sample: its SD over time, and `frames` spread over the loud ones."""
    network, trained = inference.load(settings["weights"])
    losses = figures.read_table(settings["losses"], "sd_dB2", "held_out_sd_dB2")
    feature_records = records.read_features(settings["features"][0])
    b, b_hat = feature_records[:, :20], inference.spectrum(inference.infer(network, trained, feature_records))
    if b_hat.shape != b.shape:
        raise InputError(f"{settings['weights']}: makes y_hat, expected a network that gives back b")
    energy, sd = energy_dB(b), np.square(b - b_hat).mean(axis=1)
    speech = energy > (10 if trained["thresh"] is None else trained["thresh"])
    loud = np.flatnonzero(speech & (energy >= np.median(energy)))
    if len(loud) < settings["frames"]:
        raise InputError(f"frames: found {settings['frames']}, expected at most {len(loud)}, the sample's loud ones")
    # Of each part of the sample the loud frame of median SD.
    chosen = np.array([part[np.argsort(sd[part])[len(part) // 2]] for part in np.array_split(loud, settings["frames"])])
    number, kHz = np.arange(len(b)), np.tile(features.B_HZ / 1000, len(chosen))
    frames = {"frame": number, "time_s": number * FRAME / SAMPLE_RATE, "energy_dB": energy, "sd_dB2": sd}
    ends = {"b_dB": b[chosen].ravel(), "b_hat_dB": b_hat[chosen].ravel()}
    means = [losses["sd_dB2"].iloc[-1], losses["held_out_sd_dB2"].iloc[-1], sd[speech].mean()]
    summary = {"set": ["training", "held_out", "sample"], "sd_dB2": means, "title": settings["title"]}
    tables = {"frames": frames, "shown": {"frame": chosen.repeat(20), "f_kHz": kHz, **ends}, "summary": summary}
    return {"losses": losses} | {name: pd.DataFrame(table) for name, table in tables.items()}


def bits(settings: dict) -> dict[str, pd.DataFrame]:
    """Rates and PESQ of all `rows`, tables of `mlquant rate`, and of the `anchors`, sorted; which are on the front.

    That is, no other has as few bit/s and a higher mean PESQ. Anchors, measures of each sample, are the modes of Codec
    2, and what the vocoder makes without a rate. Raises InputError for means over other samples.
    """
    if not settings["rows"]:
        raise InputError("rows: none, expected at least one table of mlquant rate")
    anchors, parts = _anchors(settings["anchors"]), []
    samples = [name for name in anchors if name.startswith("pesq_")]
    for row in settings["rows"]:
        names = {"source": row["source"], "kind": row["kind"], "entries": row["sizes"]}
        part = figures.read_table(row["file"], *coder.COLUMNS, what="a table of mlquant rate")
        if samples and {*part} - {*coder.COLUMNS} != {*samples}:
            found = ", ".join(name.removeprefix("pesq_") for name in part if name not in coder.COLUMNS) or "none"
            expected = ", ".join(name.removeprefix("pesq_") for name in samples)
            raise InputError(f"{row['file']}: samples {found}, expected those of the anchors, {expected}")
        parts.append(part.assign(**names)[[*names, *part]])
    table = pd.concat([*parts, anchors], ignore_index=True).sort_values(["bit_per_s", "pesq"], ignore_index=True)
    rate, pesq = table["bit_per_s"].to_numpy(float), table["pesq"].to_numpy(float)
    beaten = ((rate <= rate[:, None]) & (pesq > pesq[:, None])).any(axis=1)
    return {"bits": table.assign(on_front=~beaten & np.isfinite(rate) & np.isfinite(pesq))}


def _anchors(paths: list[str]) -> pd.DataFrame:
    """Measures of anchors, a row for each tag: mean PESQ, and that of each sample; NaN where a sample has none."""
    rows: dict[str, dict] = {}
    for path in paths:
        measured = disk.read_json(path)
        disk.require(measured, path, "measures")
        for row in measured["measures"]:
            disk.require(row, path, "sample", "tag", "bits_per_frame", "frame_ms", "bit_per_s", "pesq")
            numbers = {"bits": "bits_per_frame", "interval_ms": "frame_ms", "bit_per_s": "bit_per_s"}
            source = {"source": "reference" if row["bit_per_s"] is None else "codec2", "kind": row["tag"]}
            line = rows.setdefault(row["tag"], source | {name: row[column] for name, column in numbers.items()})
            line[f"pesq_{row['sample']}"] = row["pesq"]
    table = pd.DataFrame([*rows.values()])
    table = table.astype({name: float for name in table if name not in ("source", "kind")})
    return table.assign(pesq=table.filter(regex="^pesq_").mean(axis=1, skipna=False))


def _received(entry: dict, latents: np.ndarray, snr: float, seed: int) -> tuple:
    """Latents [F, d] as received, symbols a vector, Es, bit error rate and what it should be: None but for a VQ."""
    rng = np.random.default_rng(seed)
    if "codebooks" not in entry:
        sent = dense.constrained(latents)
        Es = 2 * float(np.square(sent, dtype=np.float64).mean())
        return channel.awgn(sent, Es / snr, rng), sent.shape[1] / 2, Es, None, None
    codebooks = [records.read_f32(path, latents.shape[1]) for path in entry["codebooks"]]
    width = len(codebooks[0]).bit_length() - 1
    if {len(codebook) for codebook in codebooks} != {2**width}:
        raise InputError(f"codebooks: {[*map(len, codebooks)]} entries, expected the same power of two in each")
    indices, errors = channel.qpsk(quantiser.search(latents, codebooks, entry["mbest"]), width, snr, rng)
    symbols, expected = len(codebooks) * width / 2, channel.qpsk_bit_error_rate(snr)
    return quantiser.decode(indices, codebooks), symbols, 1.0, errors, expected


def _sets(settings: dict) -> tuple:
    """A network, its settings, and a pair of latents and targets [F, n] of training, and of held-out vectors."""
    network, trained = inference.load(settings["weights"])
    if not network.row.encoder:
        raise InputError(f"{settings['weights']}: has no bottleneck, so no latents")
    feature_records = [records.read_features(path) for path in settings["features"]]
    targets = [records.read_f32(path, 79) for path in settings.get("targets", ())] or None
    others = [records.read_features(path) for path in settings.get("held_out_features", ())]
    others_y = [records.read_f32(path, 79) for path in settings.get("held_out_targets", ())] or None
    thresh = settings.get("thresh", trained["thresh"])
    arrays = training.training_set(trained | {"thresh": thresh}, feature_records, targets, (others, others_y))
    return network, trained, *((network.encode(x.numpy()), t) for x, t in (arrays[:2], arrays[2:]))


def _sd_dB2(trained: dict, estimate: np.ndarray, target: torch.Tensor) -> float:
    """Spectral distortion in dB^2 of a network's outputs against targets [F, outputs]."""
    return training.sd_dB2(trained, torch.from_numpy(estimate), target).item()


def chained(paths: list[str]) -> pd.DataFrame:
    """Traces of all stages as one, with `bits` a vector and `stages` of each size: earlier stages are full."""
    traces = [figures.read_table(path, "entries", "variance").assign(stages=i) for i, path in enumerate(paths, 1)]
    full = np.cumsum([0, *(np.log2(trace["entries"].iloc[-1]) for trace in traces)])
    return pd.concat([trace.assign(bits=full[i] + np.log2(trace["entries"])) for i, trace in enumerate(traces)])


def component_shares(vectors: np.ndarray) -> np.ndarray:
    """Shares [d] of the variance of vectors [F, d] along their principal components, largest first."""
    variance = np.linalg.svd(vectors - vectors.mean(axis=0, dtype=np.float64), compute_uv=False) ** 2
    return variance / variance.sum()


def correlations(runs: list[np.ndarray], lags: int) -> np.ndarray:
    """Correlation [lags+1, d] of each element of runs [F, d] with itself so many vectors later in its run."""
    mean = np.concatenate(runs).mean(axis=0, dtype=np.float64)
    apart = np.concatenate([np.pad(run - mean, ((0, lags), (0, 0)), constant_values=np.nan) for run in runs])
    products = [np.nanmean(apart[: len(apart) - lag] * apart[lag:], axis=0) for lag in range(lags + 1)]
    return np.array(products) / np.maximum(products[0], 1e-30)  # an element that never changes has none
