"""The inputs: results of the workflow on the default corpus, from which inputs of a given size are cut."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np

from mlquant.core.errors import InputError, log
from mlquant.core.records import FRAME, SAMPLE_RATE
from mlquant.plan.config import load, read
from mlquant.plan.plan import Plan

EXPERIMENT = "240118"


def find() -> dict:
    """Return files and settings of the configuration to measure with; InputError if they have not been made."""
    plan = Plan(load(read(Path(__file__).parents[1])))
    networks = {name: plan.graph.network(name) for name in ("manifold", "nn4_cat1", "manifold_seed", "nn4_seed")}
    nodes = list(plan.nodes.values())
    codebooks = [next(n for n in nodes if n.kind == "codebooks" and n.name == f"nn4_vq_{i}") for i in (1, 2)]
    corpora = [n for n in nodes if n.kind == "corpora" and n.name.startswith("prompts_")]
    samples = plan.config.experiments[EXPERIMENT].samples
    measured = [plan.experiments[EXPERIMENT].measured[name][0] for name in samples]
    behind = plan.graph.behind([node.file("measured.json") for node in measured]).values()
    synthesised = {n.name: n.inputs for n in behind if n.kind == "synthesised" and "_manifold." in n.inputs["y_hat"][0]}
    return {
        "speech": [made(node.file("speech.raw")) for node in corpora],
        "b": [made(path) for path in networks["manifold"].inputs["features"]],
        "y": [made(path) for path in networks["manifold"].inputs["targets"]],
        "latents": made(codebooks[0].inputs["train"][0]),
        "codebooks": [made(node.file("vq.f32")) for node in codebooks],
        "weights": {name: made(networks[name].file("weights.safetensors")) for name in ("manifold", "nn4_cat1")},
        "settings": {name: node.settings for name, node in networks.items()},
        "samples": {
            name: [made(synthesised[name][part][0]) for part in ("model", "y_hat")]
            for name in samples
            if name in synthesised and name not in plan.experiments[EXPERIMENT].optional
        },
        "corpus": {"settings": corpora[0].settings, "speech": made(corpora[0].inputs["speech"][0])},
        # These two hold paths in their records, so that an older variant cannot take their place.
        "measure": next(
            (json.dumps(n.settings) for n in measured if all(map(os.path.exists, n.inputs["files"]))), None
        ),
        "tables": next(iter(filter(Path.is_dir, [Path(plan.experiments[EXPERIMENT].tables.folder)])), None),
    }


def made(path: str) -> str:
    """Return the absolute path of a file that the workflow makes.

    If settings or code have changed since it was made, it is the path of the newest variant.
    """
    if Path(path).exists():
        return str(Path(path).resolve())
    variants = sorted(Path().glob(re.sub(r"\.[0-9a-f]{8}/", ".*/", path)), key=lambda found: found.stat().st_mtime)
    if not variants:
        raise InputError(f"{path}: has not been made; run `make` first, and the benchmark in the same folder")
    log(f"{path}: has not been made since settings or code changed; {variants[-1]} is used in its place")
    return str(variants[-1].resolve())


def cut(paths: list[str], record: int, count: int, out: Path) -> Path:
    """Write the first `count` records, of `record` bytes each, of files one after another."""
    left = count * record
    with open(out, "wb") as target:
        for path in paths:
            data = Path(path).read_bytes() if left else b""
            target.write(data[: min(left, len(data) - len(data) % record)])
            left -= min(left, len(data) - len(data) % record)
    if left:
        raise InputError(f"{paths[0]} and {len(paths) - 1} more: {count - left // record} records, expected {count}")
    return out


def cut_speech(paths: list[str], minutes: float, out: Path) -> Path:
    """Write the first `minutes` of speech, whole frames."""
    return cut(paths, 2 * FRAME, frames(minutes), out)


def frames(minutes: float) -> int:
    """Return the number of frames in so much speech, at least one."""
    return max(1, round(minutes * 60 * SAMPLE_RATE / FRAME))


def repeat_speech(paths: list[str], hours: float, out: Path) -> Path:
    """Write hours of speech: the corpus again and again, each time at another level."""
    rng = np.random.default_rng(1)
    corpus = np.concatenate([np.fromfile(path, "<i2") for path in paths])
    left = round(hours * 3600 * SAMPLE_RATE)
    with open(out, "wb") as target:
        while left:
            part = corpus[:left] * np.float32(rng.uniform(0.3, 1.0))
            target.write(np.rint(part).astype("<i2").tobytes())
            left -= len(part)
    return out
