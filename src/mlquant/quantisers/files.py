"""Reading of codebooks and prediction coefficients, and the files of superframes, for the commands of quantisers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from mlquant.core import disk, records
from mlquant.core.errors import InputError
from mlquant.networks.dense import Layers
from mlquant.quantisers.superframe import Superframes
from mlquant.quantisers.types import STABLE

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


def read_superframes(
    features: Sequence[Path], targets: Sequence[Path], asked: SuperframeSettings
) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """Read superframes [n, K] of shapes or energies from files of b and y, one array a pair.

    Beside shapes their energies, pitch and voicing are known: [n, 2 T + 3] a pair. The frames at the end of a file that
    make no superframe are left out, and so is its last share `held_out`. Raises InputError for files of different
    lengths.
    """
    from mlquant.quantisers import gain
    from mlquant.vocoder import superframes

    T, vectors, known = asked.frames, list[np.ndarray](), list[np.ndarray]()
    for b, y in read_pairs(features, targets):
        kept = int(len(b) / T * (1 - asked.held_out)) * T
        energy, log2_f0, voiced = superframes.side_of(b[:kept, 20], b[:kept, 21], y[:kept], T, T // 2)
        if asked.of == "shape":
            vectors.append(superframes.together(gain.without_gain(b[:kept]), T))
            known.append(superframes.beside(energy, log2_f0, voiced))
        else:
            vectors.append(energy)
    return vectors, known or None


def read_pairs(features: Sequence[Path], targets: Sequence[Path]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield b [F, 22] and y [F, 79] of pairs of files; InputError for files of different numbers or lengths."""
    if len(features) != len(targets):
        raise InputError(f"--target: {len(targets)} files, expected {len(features)}, one for each of the features")
    for path, target in zip(features, targets, strict=True):
        b, y = records.read_features(path), records.read_f32(target, 79)
        if len(b) != len(y):
            raise InputError(f"{target}: {len(y)} frames, expected {len(b)} as of {path}")
        yield b, y


def tensors_of(quantiser: Superframes) -> dict[str, np.ndarray]:
    """Return the tables of a quantiser of superframes by name."""
    codebooks = {f"codebook{i}": codebook for i, codebook in enumerate(quantiser.codebooks, 1)}
    layers = tensors_of_layers(quantiser.layers)
    return {"mean": quantiser.mean, "predictor": quantiser.predictor, **codebooks, **layers}


def superframes_of(tensors: dict[str, np.ndarray]) -> Superframes:
    """Return the quantiser of superframes of such tables; ValueError for tables that do not fit each other."""
    mean, predictor = tensors["mean"], tensors["predictor"]
    of_layers = {name: tensor for name, tensor in tensors.items() if name.startswith(("weight", "bias"))}
    layers = layers_of(of_layers) if of_layers else []
    codebooks = [tensors[f"codebook{i}"] for i in range(1, len(tensors) - len(of_layers) - 1)]
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
    if layers and len(layers[-1][1]) != 1 + len(mean):
        raise ValueError(f"tables of superframes: a network of {len(layers[-1][1])} outputs, expected {1 + len(mean)}")
    return Superframes(mean, predictor, codebooks, layers)


def tensors_of_layers(layers: Layers) -> dict[str, np.ndarray]:
    """Return the layers of a network as tables by name."""
    each = enumerate(layers, 1)
    return {f"{name}{i}": array for i, pair in each for name, array in zip(("weight", "bias"), pair, strict=True)}


def layers_of(tensors: dict[str, np.ndarray]) -> Layers:
    """Return the layers of such tables; ValueError for those that are no network."""
    layers = [(tensors[f"weight{i}"], tensors[f"bias{i}"]) for i in range(1, len(tensors) // 2 + 1)]
    good = len(tensors) == 2 * len(layers) > 0 and all(
        W.ndim == 2 and b.shape == W.shape[:1] and is_plain(W) and is_plain(b) for W, b in layers
    )
    if not good or any(len(b) != after.shape[1] for (_, b), (after, _) in pairwise(layers)):
        raise ValueError("network: its layers do not follow each other, or hold NaN or infinity")
    return layers


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
