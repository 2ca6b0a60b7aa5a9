"""Reading and checking of the files that the commands of networks take, and training from files to a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mlquant.core import records
from mlquant.core.errors import InputError, log
from mlquant.networks import rows


def train(
    command: str,
    given: dict,
    files: dict[str, list[Path]],
    out: Path,
    keep_failure: bool,
    record: dict | None,
    root: Path | None,
    begin: Callable[..., dict] = lambda *read: {},
) -> None:
    """Train a network on files, given by the names of inputs, and write it into the folder `out`.

    `begin` is given the settings, the features and the held-out features; it returns the arguments of `training.train`
    by which a training begins with the weights of another network. With `keep_failure` a training that fails is written
    as such; without, it raises InputError.
    """
    from mlquant.core import blocks, provenance
    from mlquant.networks import training
    from mlquant.networks.settings import NetworkSettings

    started = provenance.now()
    settings = blocks.validate(NetworkSettings, given, "settings").model_dump()
    checksums = provenance.checksums([path for paths in files.values() for path in paths], root)
    device = training.device_of(settings)  # that a machine has none is no failure to keep
    try:
        held_out = read_pairs(files["held_out_features"], files["held_out_targets"])
        pairs = read_pairs(files["features"], files["targets"])
        training.train(settings, *pairs, out, held_out, device=device, **begin(settings, pairs[0], held_out[0]))
    except InputError as error:
        if not keep_failure:
            raise
        log(f"mlquant {command}: {error}")
        training.write_failure(settings, str(error), out)
    provenance.sidecar(out, record or {}, settings, checksums, started)


def read_pairs(features: list[Path], targets: list[Path]) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """Read features, and their y if any; InputError for files of different lengths."""
    read = [records.read_features(path) for path in features]
    y = [records.read_f32(path, 79) for path in targets] if targets else None
    for path, found, b in zip(targets, y or (), read, strict=False):
        if len(found) != len(b):
            raise InputError(f"{path}: {len(found)} frames, expected {len(b)} as of the features")
    return read, y


def read_latents(
    option: str, paths: list[Path], named: list[Path], features: list[np.ndarray], settings: dict
) -> list[np.ndarray]:
    """Read the quantised latents of the files `named`, with these features: a vector for each sequence of frames."""
    if len(paths) != len(features):
        raise InputError(f"{option}: {len(paths)} files, expected {len(features)}, one for each of the features")
    width = rows.latent_width(settings)
    if width is None:
        raise InputError(f"{option}: {settings['family']} nn {settings['nn']} has no bottleneck, expected no latents")
    latents = [records.read_f32(path, width) for path in paths]
    for path, name, found, b in zip(paths, named, latents, features, strict=True):
        if len(found) != (expected := -(-len(b) // settings["ncat"])):
            raise InputError(f"{path}: {len(found)} vectors, expected {expected} as of {name}")
    return latents


def read_spectra(path: Path, settings: dict) -> np.ndarray:
    """Read the features that a network takes: records [F, 22] or y [F, 79]."""
    return records.read_f32(path, 79) if rows.row_of(settings).source == "y" else records.read_features(path)


def read_energy(path: Path | None, features: np.ndarray) -> np.ndarray | None:
    """Read the y [F, 79] whose energy the output gets; InputError unless it has as many frames as the features."""
    if path is None:
        return None
    y = records.read_f32(path, 79)
    if len(y) != len(features):
        raise InputError(f"{path}: {len(y)} frames, expected {len(features)} as of the features")
    return y
