"""The folder an experiment ends in: its wavs under their published names, and what explains them.

Hard links, so that the stable names cost no space; copies where the file system has no links.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import pandas as pd

from mlquant.files import link, new_folder, read_json, require, write_json, write_text
from mlquant.measures import COLUMNS

_PACKAGES = ("torch", "mlquant", "faiss-cpu", "numpy", "pandas", "pycodec2", "safetensors", "scipy", "snakemake")
_PACKAGES += ("soundfile", "vector-quantize-pytorch")


def gather(experiment: dict, measured: list[Path], figures: list[Path], out: Path) -> None:
    """Make an experiment's folder: wavs, loss curves, measures.csv, README.md and provenance.json.

    `experiment` is its config entry with its name; `measured` holds a record.json for each sample (see the
    command `measure`), `figures` the curves of its networks. The folder appears whole or not at all.
    """
    records = [read_json(path) for path in measured]
    for path, record in zip(measured, records, strict=True):
        require(record, str(path), "sample", "rows", "stages", "measures")
    require(experiment, "experiment", "name", "title", "samples", "outputs", "speech_dir")
    left_out = [name for name in experiment["samples"] if name not in {record["sample"] for record in records}]
    with new_folder(out) as temporary:
        wavs = {}
        for record in records:
            for row in record["rows"]:
                name = f"{record['sample']}_{row['index']}_{row['tag']}.wav"
                link(Path(row["files"]["wav"]), temporary / name)
                wavs[name] = row["files"]["wav"]
        for figure in figures:
            link(figure, temporary / f"{figure.parent.name.rsplit('.', 1)[0]}_losses.png")
        rows = [measures for record in records for measures in record["measures"]]
        frame = pd.DataFrame(rows, columns=COLUMNS).astype({"bits_per_frame": "Int64", "frame_ms": "Int64"})
        write_text(temporary / "measures.csv", frame.to_csv(index=False, float_format="%.6g"))
        write_text(temporary / "README.md", _readme(experiment, frame, left_out, figures))
        write_json(temporary / "provenance.json", _provenance(experiment, records, wavs, left_out))


def _readme(experiment: dict, frame: pd.DataFrame, left_out: list[str], figures: list[Path]) -> str:
    """The legend and the distortion of every sample and index, as Markdown."""
    parts = [f"# {experiment['name']}", experiment["title"] or "Samples of an experiment."]
    parts += [
        f"**Warning: the optional sample {name} could not be obtained and is left out.** Put {name}.raw or "
        f"{name}.wav into `{experiment['speech_dir']}/` and run the same command again; or, to try the download "
        f"again, remove `results/optional_sources/` first."
        for name in left_out
    ]
    parts.append("Each wav is named `<sample>_<index>_<tag>.wav`.")
    legend = [["index", "tag", "processing", "what it shows", "bits a frame", "bit/s"]]
    for output in experiment["outputs"]:
        rows = frame[(frame["index"] == output["index"]) & (frame["tag"] == output["tag"])]
        rates = [
            (f"{row.bits_per_frame} in {row.frame_ms} ms", f"{row.bit_per_s:.0f}")
            for row in rows.dropna(subset=["bits_per_frame"]).itertuples()
        ] or [("-", "-")]
        legend.append([output["index"], output["tag"], output["processing"], output["shows"], *rates[0]])
    sd = frame.dropna(subset=["sd_dB2"])
    sd = sd.pivot_table(index="sample", columns=["index", "tag"], values="sd_dB2", sort=False)
    distortions = [["sample", *(f"{index} {tag}" for index, tag in sd.columns)]]
    for sample, row in [*sd.iterrows(), ("mean", sd.mean())]:
        distortions.append([sample, *(f"{value:.2f}" for value in row)])
    parts += [
        _table(legend),
        "Spectral distortion in dB² (200 to 3700 Hz, all frames), by sample and index:",
        _table(distortions),
        "`measures.csv` holds these and the other measures, `provenance.json` the settings, inputs and versions "
        "behind every file.",
    ]
    if figures:
        names = [figure.parent.name.rsplit(".", 1)[0] for figure in figures]
        parts += ["Training of the networks:", "\n".join(f"![loss of {name}]({name}_losses.png)" for name in names)]
    return "\n\n".join(parts) + "\n"


def _table(rows: list[list]) -> str:
    """A table in Markdown; the first row is its header."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _provenance(experiment: dict, records: list[dict], wavs: dict[str, str], left_out: list[str]) -> dict:
    """Every key, file, setting and version behind the folder."""
    stages = {folder: stage for record in records for folder, stage in record["stages"].items()}
    return {
        "experiment": experiment,
        "left_out": left_out,
        "wavs": {
            name: {"from": path, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}
            for name, path in sorted(wavs.items())
        },
        "stages": dict(sorted(stages.items())),
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _PACKAGES},
            "machine": platform.machine(),
            "revision": _revision(),
        },
    }


def _revision() -> str | None:
    """Git revision of the checkout, with "-dirty" when it has changes; None outside of one."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
