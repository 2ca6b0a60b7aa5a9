"""Reading of codebooks and prediction coefficients, and the files of superframes, for the commands of quantisers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from mlquant.core import disk, records
from mlquant.core.errors import InputError
from mlquant.quantisers.superframe import STABLE, Superframes

if TYPE_CHECKING:
    from mlquant.quantisers.settings import SuperframeSettings

Tables = TypeVar("Tables")


def read_codebooks(paths: Sequence[Path], k: int) -> list[np.ndarray]:
    """Read codebooks [M, k] from files; InputError for one that cannot be read."""
    return [records.read_f32(path, k) for path in paths]


def read_coefficient(predict: str | float | None, predictor: Path | None = None) -> float | None:
    """Return a prediction coefficient: from the file `predictor`, or `predict`, a number or a file; else None."""
    if predictor is None and predict is None:
        return None
    if predictor is None:
        if predict == "":
            raise InputError("predict: found nothing, expected a number or a file")
        try:
            return float(predict or 0)
        except ValueError:
            predictor = Path(str(predict))
    found = records.read_f32(predictor, 1)
    if len(found) != 1:
        raise InputError(f"{predictor}: {len(found)} numbers, expected 1, a prediction coefficient")
    return float(found[0, 0])


def read_superframes(paths: Sequence[Path], asked: SuperframeSettings) -> list[np.ndarray]:
    """Read superframes [n, K] of shapes from files of b, or of energies from files of y, one array a file.

    The frames at the end of a file that make no superframe are left out, and so is its last share `held_out`.
    """
    from mlquant.quantisers import gain
    from mlquant.vocoder import features, superframes

    streams = []
    for path in paths:
        read = records.read_features(path) if asked.of == "shape" else records.read_f32(path, 79)
        read = read[: int(len(read) / asked.frames * (1 - asked.held_out)) * asked.frames]
        if asked.of == "shape":
            streams.append(superframes.together(gain.without_gain(read), asked.frames))
        else:
            streams.append(superframes.energies(features.energy_dB(read)).reshape(-1, asked.frames))
    return streams


def tensors_of(quantiser: Superframes) -> dict[str, np.ndarray]:
    """Return the tables of a quantiser of superframes by name."""
    codebooks = {f"codebook{i}": codebook for i, codebook in enumerate(quantiser.codebooks, 1)}
    return {"mean": quantiser.mean, "predictor": quantiser.predictor, **codebooks}


def superframes_of(tensors: dict[str, np.ndarray]) -> Superframes:
    """Return the quantiser of superframes of such tables; ValueError for tables that do not fit each other."""
    mean, predictor = tensors["mean"], tensors["predictor"]
    codebooks = [tensors[f"codebook{i}"] for i in range(1, len(tensors) - 1)]
    expected = [(len(mean),), (len(mean), len(mean)), *((len(codebook), len(mean)) for codebook in codebooks)]
    found = [array.shape for array in (mean, predictor, *codebooks)]
    if found != expected or not codebooks:
        raise ValueError(f"tables of superframes: found shapes {found}, expected {expected}")
    if not all(map(is_plain, (mean, predictor, *codebooks))):
        raise ValueError("tables of superframes: found other numbers, expected float32 below a million")
    if np.abs(np.linalg.eigvals(predictor)).max() > STABLE + 1e-3:
        raise ValueError(
            f"tables of superframes: found a predictor that is not stable, expected eigenvalues to {STABLE}"
        )
    if any(len(codebook) & (len(codebook) - 1) or len(codebook) < 2 for codebook in codebooks):
        raise ValueError("tables of superframes: found a codebook whose size is no power of two")
    return Superframes(mean, predictor, codebooks)


def is_plain(array: np.ndarray) -> bool:
    """Return whether a table is of float32 numbers below a million, either way."""
    return array.dtype == np.float32 and bool((abs(array) < 1e6).all())


def saved(tables: dict[str, np.ndarray]) -> bytes:
    """Return tables as a safetensors file. It writes memory as it lies, so that a matrix is put into rows first."""
    import safetensors.numpy

    return safetensors.numpy.save({name: np.ascontiguousarray(table) for name, table in tables.items()})


def read_tables(path: Path, made_of: Callable[[dict[str, np.ndarray]], Tables], command: str) -> Tables:
    """Return what `made_of` makes of the tables in a file; InputError for a file that `command` did not write."""
    import safetensors.numpy

    try:
        return made_of(safetensors.numpy.load(disk.read_bytes(path)))
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path}: was not written by mlquant {command} ({str(error)[:200]})") from None


def read_superframe_tables(path: Path) -> Superframes:
    """Read a quantiser of superframes; InputError for a file that is none."""
    return read_tables(path, superframes_of, "vq-superframe")
