"""The data of the page, gathered from folders of tables: an object for JSON, and all arrays together as base64.

The object stands for an array by its place in the bytes, its type and its shape. Arrays that are only drawn are kept in
16-bit steps of 0.01 dB; those that the page computes with (latents, codebooks, decoder, energies) stay float32.
Neither torch nor pandas nor matplotlib is imported here: each takes longer to load than the page takes to make.
"""

from __future__ import annotations

import base64
import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mlquant.core import disk, records
from mlquant.core.colours import LIGHT
from mlquant.core.errors import InputError
from mlquant.core.provenance import quick_look
from mlquant.experiments.page import in_set
from mlquant.experiments.page.words import Words
from mlquant.measures.columns import COLUMNS, FRAMES, TEXT, Column
from mlquant.networks import dense
from mlquant.networks.rows import row_of
from mlquant.vocoder.features import B_HZ, energy_dB

STEP_dB = 0.01
LIMIT = 40_000_000  # bytes of the files of all samples that the page holds; the page itself is about as large
_FLOOR_dB = -100.0  # of harmonics that are drawn
_TEXT = TEXT | {"time", "experiment", "key", "revision", "quick_look"}  # also those of the history, and of a test set
_TEXT |= {"utterance", "speaker", "transcript", "measure", "tag_b", "beyond_chance"}

_SAMPLES = Column(name="samples", label="samples", help="how many samples the mean is over", digits=0)


class Blob:
    """Arrays, one after the other; each starts at a multiple of 4 bytes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._read: dict[str, dict] = {}

    def add(self, array: np.ndarray, kind: str = "f4") -> dict:
        """Keep an array as "f4", as "i2", or as "dB": int16 in steps of `STEP_dB`, -32768 for what is not finite."""
        if kind == "dB":
            steps = np.clip(np.rint(array / STEP_dB), -32767, 32767)
            array = np.where(np.isfinite(array), steps, -32768)
        data = np.ascontiguousarray(array, "<f4" if kind == "f4" else "<i2").tobytes()
        place = {"at": self._size, "type": kind, "shape": list(array.shape)}
        self._parts += [data, bytes(-len(data) % 4)]
        self._size += len(data) + -len(data) % 4
        return place

    def file(self, path: str, read: Callable[[str], np.ndarray], kind: str) -> dict:
        """Keep the array that `read` returns for a file, once: experiments share files that have the same key."""
        if path not in self._read:
            self._read[path] = self.add(read(path), kind)
        return self._read[path]

    def base64(self) -> str:
        """Return all bytes as text."""
        return base64.b64encode(b"".join(self._parts)).decode("ascii")


def read_rows(path: Path) -> list[dict]:
    """Return the rows of a CSV file: text in the columns that hold words, numbers in the others, None if empty."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [{name: _value(name, text) for name, text in row.items()} for row in rows]
    except OSError as error:
        raise disk.unreadable(path, error) from None
    except (ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path}: not a table of mlquant ({error})") from None


def _value(name: str, text: str) -> str | float | None:
    if name in _TEXT:
        return text
    value = float(text) if text else None
    return value if value is None or np.isfinite(value) else None


def decoder_layers(weights: Path) -> tuple[dense.Layers, dict]:
    """Return a network's decoder as dense layers, and its settings; InputError if the page cannot run it."""
    network, settings = dense.load(weights)
    if not network.encoder:
        raise InputError(f"{settings['family']} {settings['nn']} has no bottleneck")
    return network.decoder, settings


def gather(named: Sequence[tuple[str, Path]]) -> tuple[dict, str]:
    """Return everything that the page of these folders of tables shows, and its arrays as base64.

    Each folder comes with its label. Samples of the same name are one sample. Raises InputError for a folder that lacks
    something.
    """
    blob = Blob()
    tables = [_Tables(label if len(named) > 1 else "", folder) for label, folder in named]
    experiments = [table.about(blob) for table in tables]
    names = list(dict.fromkeys(name for table in tables for name in table.provenance["samples"]))
    held = _held(names, tables)
    page = {
        "title": _heading(experiments),
        "name": " and ".join(each["name"] for each in experiments),
        "colours": len(LIGHT),
        "step_dB": STEP_dB,
        "b_kHz": (B_HZ / 1000).tolist(),
        "columns": _columns(tables),
        "experiments": experiments,
        "samples": [_sample(name, tables, blob) for name in held],
        "not_held": len(names) - len(held),
        "bottleneck": _bottleneck(tables[0], held, blob),
    }
    return page, blob.base64()


def _held(names: Sequence[str], tables: Sequence[_Tables]) -> list[str]:
    """Return the samples whose speech the page holds: as many as fit into `LIMIT`, in order.

    The page shows the others in its tables only.
    """
    held, total = [], 0
    for name in names:
        known = [table.provenance["samples"][name] for table in tables if name in table.provenance["samples"]]
        paths = {one[file] for one in known for file in ("source", "features", "y") if file in one}
        paths |= {path for one in known for row in one.get("rows", ()) for path in row["files"].values()}
        size = sum(Path(path).stat().st_size for path in paths if Path(path).is_file())
        if total + size <= LIMIT:
            held.append(name)
            total += size
    return held


def _heading(experiments: Sequence[dict]) -> str:
    """Return the title of one experiment, or its name where it has none; of several their labels and names."""
    if len(experiments) == 1:
        return experiments[0]["title"] or experiments[0]["name"]
    return " and ".join(map(_labelled, experiments))


def _labelled(experiment: dict) -> str:
    label, name = experiment["label"], experiment["name"]
    return label if name in label else f"{label} {name}".strip()


class _Tables:
    """The contents of a folder of tables."""

    def __init__(self, label: str, folder: Path):
        self.label, self.folder = label, folder
        self.provenance = disk.read_json(folder / "provenance.json")
        needed = ("experiment", "key", "samples", "networks", "codebooks", "stages", "versions", "wavs")
        disk.require(self.provenance, str(folder / "provenance.json"), *needed)
        self.measures, self.means, self.anchors = (
            read_rows(folder / f"{name}.csv") for name in ("measures", "means", "anchors")
        )
        self.frames: dict[tuple, dict[str, list]] = {}
        for row in read_rows(folder / "frames.csv"):
            columns = self.frames.setdefault(
                (row["sample"], row["index"], row["tag"]), {name: [] for name in FRAMES if name in COLUMNS}
            )
            for name, values in columns.items():
                values.append(np.nan if row.get(name) is None else row[name])

    def about(self, blob: Blob) -> dict:
        """Return what the page says of the experiment, without the arrays of its samples."""
        known = self.provenance
        of_set = in_set.gather(
            known, lambda name: read_rows(self.folder / f"{name}.csv"), blob.add, _delay(self.measures)
        )
        experiment = known["experiment"]
        networks = {name: Path(folder) for name, folder in known["networks"].items()}
        shown = {name: _network(folder) for name, folder in networks.items()}
        words = Words(
            experiment["outputs"],
            {name: (known["networks"][name], network["settings"]) for name, network in shown.items()},
            self.means,
            self.measures,
            self.anchors,
            known["stages"],
            {
                (row["index"], row["tag"]): row["files"]
                for sample in list(known["samples"].values())[:1]
                for row in sample.get("rows", ())
            },
            of_set,
        )
        copied = ("key", "pesq", "empty", "optional", "left_out", "versions", "wavs", "definitions")
        return {
            "label": self.label,
            "folder": str(self.folder),
            **{name: known.get(name) for name in copied},
            "name": experiment["name"],
            "title": experiment.get("title") or "",
            "published": experiment.get("published"),
            "quick_look": quick_look(experiment.get("lowered", {})),
            "outputs": experiment["outputs"],
            "measures": self.measures,
            "means": self.means,
            "test_set": of_set,
            "anchors": self.anchors,
            "networks": shown,
            "words": words.outputs_in_words(),
            "sentence": words.sentence(len(known["samples"])),
            "finding": words.finding(),
            "traces": {name: read_rows(Path(folder) / "trace.csv") for name, folder in known["codebooks"].items()},
            "stages": [
                {"folder": folder, "seconds": _seconds(folder), **{k: v for k, v in node.items() if k != "key"}}
                for folder, node in known["stages"].items()
            ],
        }


def _network(folder: Path) -> dict:
    settings = disk.read_json(folder / "settings.json")
    losses = read_rows(folder / "losses.csv") if (folder / "losses.csv").exists() else []
    return {"settings": settings, "target": row_of(settings).target, "losses": losses}


def _seconds(folder: str) -> float | None:
    """Return the run time in s that Snakemake recorded for a node; None where there is no record."""
    path = Path(folder)
    benchmark = path.parent.parent / "benchmarks" / path.parent.name / f"{path.name}.tsv"
    try:
        header, *_, last = (line.split("\t") for line in benchmark.read_text(encoding="utf-8").splitlines())
        return float(last[header.index("s")])
    except (OSError, ValueError):
        return None


def _columns(tables: Sequence[_Tables]) -> dict:
    """Return what the page has to know of every numeric column, in the tables' order.

    That is its label, its explanation and its decimals, and whether the page shows it at first, whether it is drawn
    against bit/s, whether it is a measure of speech, and whether each frame has a value of it.
    """
    result = {}
    names = dict.fromkeys(name for table in tables for row in (*table.means[:1], *table.measures[:1]) for name in row)
    for name in names:
        if name in _TEXT or name == "index":
            continue
        # Tables of another version may have a measure that is no longer known.
        column = (COLUMNS | {"samples": _SAMPLES}).get(name, Column(name=name, label=name, digits=3))
        label = f"{column.label} {column.unit}".rstrip()
        about = {"label": label, "help": column.help, "digits": column.digits, "frames": name in FRAMES}
        about["better"] = column.better
        result[name] = about | {"first": column.first, "charted": column.charted, "of_speech": column.of_speech}
    return result


def _sample(name: str, tables: Sequence[_Tables], blob: Blob) -> dict:
    """Return a sample, from all folders that have it: its tracks to listen to, and the features of its frames."""
    having = [(i, table) for i, table in enumerate(tables) if name in table.provenance["samples"]]
    first = having[0][1]
    known = first.provenance["samples"][name]
    disk.require(known, f"{first.folder}/provenance.json: {name}", "source", "model", "features", "y", "rows")
    delay = _delay([row for row in first.measures if row["sample"] == name])
    feature_records, y = records.read_features(known["features"]), records.read_f32(known["y"], 79)
    published: set[str] = set()
    tracks = [{"kind": "source", "index": 0, "tag": "source speech", "label": "source",
               "audio": blob.add(np.pad(records.read_speech(known["source"]), (delay, 0)), "i2")}]  # fmt: skip
    for i, table in having:
        for row in table.provenance["samples"][name]["rows"]:
            about = {"experiment": i, "index": row["index"], "tag": row["tag"]}
            label = f"{table.label} {row['index']}".strip()
            named = row["files"]
            track = {"kind": "output", **about, "label": label}
            track["audio"] = blob.file(named["wav"], _read_speech, "i2")
            if "y_hat" in named:
                track["y_hat"] = blob.file(named["y_hat"], _read_y, "dB")
            if "b_hat" in named:
                track["b_hat"] = blob.file(named["b_hat"], _read_b, "dB")
            for column, values in table.frames.get((name, row["index"], row["tag"]), {}).items():
                if np.isfinite(values).any():
                    track[column] = blob.add(np.array(values))
            tracks.append(track)
        for row in table.provenance["samples"][name]["rows"]:
            path = row["files"].get("published")
            if path and path not in published:
                published.add(path)
                about = {"experiment": i, "index": row["index"], "tag": row["tag"]}
                label = f"{table.label} {row['index']} published".strip()
                audio = blob.file(path, _read_speech, "i2")
                tracks.append({"kind": "published", **about, "label": label, "audio": audio})
    return {
        "name": name,
        "sex": known.get("sex") or "",
        "delay": delay,
        "tracks": tracks,
        "y": blob.add(y, "dB"),
        "b": blob.add(feature_records[:, :20], "dB"),
        "Wo": blob.add(feature_records[:, 20]),
        "voiced": blob.add(feature_records[:, 21], "i2"),
        "energy": blob.add(energy_dB(y)),
        "energy_b": blob.add(energy_dB(feature_records[:, :20])),
        "harmonics": _harmonics(known["model"], blob),
    }


def _delay(measures: Sequence[dict]) -> int:
    """Return by how many samples coded speech comes after its source."""
    return int(next((row["delay_samples"] for row in measures if row.get("delay_samples") is not None), 0))


def _read_speech(path: str) -> np.ndarray:
    return records.read_speech(path, silent=True)


def _read_y(path: str) -> np.ndarray:
    return records.read_f32(path, 79)


def _read_b(path: str) -> np.ndarray:
    return records.read_features(path)[:, :20]


def _harmonics(path: str, blob: Blob) -> dict:
    """Return the amplitudes of all frames' harmonics below 4000 Hz, in dB with the pre-emphasis of y."""
    model = records.read_model(path)
    m = np.arange(1, records.MAX_AMP + 1)
    angle = model.Wo.astype(np.float64)[:, None] * m
    used = (m <= model.L[:, None]) & (angle < np.pi)
    emphasis = 2 - 2 * np.cos(angle[used])
    amplitudes = 10 * np.log10(np.maximum(model.A[:, 1:][used].astype(np.float64) ** 2 * emphasis, 1e-30))
    return {
        "count": blob.add(used.sum(axis=1), "i2"),
        "A_dB": blob.add(np.maximum(amplitudes, _FLOOR_dB), "dB"),
        "Wo": blob.add(model.Wo),
    }


def _bottleneck(table: _Tables, names: Sequence[str], blob: Blob) -> dict:
    """Return the decoder, codebooks and latents of the live bottleneck; or the reason why there is none."""
    known = table.provenance.get("bottleneck")
    if not known:
        return {"reason": "no output of this experiment has a bottleneck"}
    try:
        layers, settings = decoder_layers(Path(known["weights"]))
    except InputError as error:
        return {"reason": str(error)}
    codebooks = [records.read_f32(path, settings["d"]) for path in known["codebooks"]]
    return {
        "network": known["network"],
        "target": row_of(settings).target,
        "source": row_of(settings).source,
        **{name: settings[name] for name in ("d", "ncat", "norm", "noise_var", "gamma", "symbols")},
        "layers": [{"W": blob.add(W), "b": blob.add(b)} for W, b in layers],
        "codebooks": [blob.add(codebook) for codebook in codebooks],
        "choices": [
            {
                **{name: choice.get(name) for name in ("index", "tag", "stages", "mbest", "smooth")},
                "bits": sum((len(codebook) - 1).bit_length() for codebook in codebooks[: choice["stages"]]),
                "sent": {
                    name: blob.add(np.load(choice["sent"][name], allow_pickle=False))
                    for name in names
                    if name in choice.get("sent", ())
                },
            }
            for choice in known["choices"]
        ],
        "latents": {
            name: blob.add(records.read_f32(known["latents"][name], settings["d"]))
            for name in names
            if name in known["latents"]
        },
    }
