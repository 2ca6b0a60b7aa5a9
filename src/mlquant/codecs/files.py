"""The folder of a codec: codec.json says what it is, tables.safetensors has its numbers. And what is trained for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy

from mlquant.codecs.codec import Codec
from mlquant.codecs.settings import Assembled
from mlquant.core import blocks, disk, records
from mlquant.core.errors import InputError
from mlquant.networks import context
from mlquant.networks.context import Streams
from mlquant.networks.dense import Layers, eight_bit
from mlquant.quantisers import superframe
from mlquant.quantisers.files import (
    layers_of,
    read_pairs,
    read_tables,
    saved,
    superframes_of,
    tensors_of,
    tensors_of_layers,
)
from mlquant.quantisers.gain import without_gain
from mlquant.quantisers.superframe import Superframes
from mlquant.vocoder import superframes
from mlquant.vocoder.pitch import Pitch

if TYPE_CHECKING:
    from mlquant.codecs.settings import TrainContext

DESCRIPTION, TABLES = "codec.json", "tables.safetensors"
_FORMAT = 1
_OWN = ("frames", "voicing_ms", "paths", "wait", "postfilter", "floor_dB", "eight_bit")
_SCALE = ".scale"  # ends the name of the scales of a table that has 8 bits
_END = 16000  # samples at the end of each file, by which bits are judged
_PATHS, _WAIT = 8, 2  # of the search that quantises the training set


def settings_of(codec: Codec) -> dict[str, Any]:
    """What a codec has besides tables, as it is in codec.json."""
    pitch = {name: getattr(codec.pitch, name) for name in ("every_ms", "bits", "lowest", "highest", "wait")}
    own = {name: getattr(codec, name) for name in _OWN}
    return own | {"pitch": pitch | {"offsets": [*codec.pitch.offsets]}}


def assembled(asked: Assembled, energy: Superframes, shape: Superframes, layers: Layers) -> Codec:
    """A codec of settings and tables; InputError for those that do not fit each other."""
    try:
        return _codec_of(asked.model_dump(exclude={"about"}), energy, shape, layers)
    except ValueError as error:
        raise InputError(str(error)) from None


def _codec_of(settings: dict[str, Any], energy: Superframes, shape: Superframes, layers: Layers) -> Codec:
    """The same; ValueError for what does not fit."""
    pitch = Pitch(**settings["pitch"])
    own = {name: settings[name] for name in _OWN}
    T = own["frames"]
    widths = {"energy": (len(energy.mean), T), "shape": (len(shape.mean), 20 * T)}
    if shape.layers:
        widths["network of shape"] = len(shape.layers[0][0][0]), 4 * T + 6
    if energy.layers:
        raise ValueError("energy: found a network, expected none, as nothing is known beside")
    widths |= {"network's input": (layers[0][0].shape[1], 69 * T + 1), "network's output": (len(layers[-1][1]), 79 * T)}
    for name, (found, expected) in widths.items():
        if found != expected:
            raise ValueError(f"{name}: found {found} numbers, expected {expected} for superframes of {T} frames")
    for name, each in (("pitch.every_ms", pitch.frames), ("voicing_ms", own["voicing_ms"] // 10)):
        if T % each:
            raise ValueError(f"{name}: found {10 * each}, expected a divisor of {10 * T}, the ms of a superframe")
    return Codec(pitch=pitch, energy=energy, shape=shape, layers=layers, **own)


def hash_of(settings: dict[str, Any], tables: bytes) -> str:
    """SHA-256 of what decides the bits and the speech, in hexadecimal digits."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode() + tables).hexdigest()


def ends_of(paths: Sequence[Path]) -> np.ndarray:
    """The last seconds [N] int16 of files of speech, one after the other."""
    return np.concatenate([records.read_speech(path)[-_END:] for path in paths])


def write(folder: Path, codec: Codec, about: dict[str, Any], costs: Sequence[float] | None = None) -> None:
    """Write a codec; `about` is what codec.json tells besides.

    `costs` are those of a wrong bit, for each bit of a superframe (see `trials.bit_costs`). They are told as
    `sensitivity`: the bits in the order in which to protect them, each with its share of the cost of all.
    """
    tensors = {f"{name}.{table}": array for name, one in (("energy", codec.energy), ("shape", codec.shape))
               for table, array in tensors_of(one).items()}  # fmt: skip
    tensors |= {f"network.{name}": array for name, array in tensors_of_layers(codec.layers).items()}
    if codec.eight_bit:
        tensors = _shrunk(tensors)
    tables = saved(tensors)
    settings = settings_of(codec)
    described = {
        "format": _FORMAT,
        **about,
        "hash": hash_of(settings, tables),
        "bits": codec.bits,
        "bit_rate": codec.bit_rate,
        "delay_ms": codec.delay_ms,
        "packing": "fields from their highest bit on, superframes without gaps, the last byte filled up with zeros",
        "layout": [{"field": name, "bits": bits} for name, bits in codec.layout],
        **({} if costs is None else {"sensitivity": _ordered(codec, costs)}),
        "settings": settings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    disk.write_bytes(folder / TABLES, tables)
    disk.write_json(folder / DESCRIPTION, described)


def _ordered(codec: Codec, costs: Sequence[float]) -> list[dict[str, Any]]:
    """The bits of a superframe, by number from 0, the one that costs the most first."""
    fields = [name for name, bits in codec.layout for _ in range(bits)]
    order = sorted(range(len(costs)), key=lambda bit: (-costs[bit], bit))
    return [{"bit": bit, "field": fields[bit], "share": round(costs[bit] / sum(costs), 4)} for bit in order]


def read(folder: Path) -> tuple[Codec, str]:
    """Read a codec and its hash from its folder, or its codec.json.

    Raises InputError for a folder without one, and for files that do not go together.
    """
    folder = folder.parent if folder.name == DESCRIPTION else folder
    for name in (DESCRIPTION, TABLES):
        if not (folder / name).is_file():
            raise InputError(f"{folder}: has no {name}, expected the folder of a codec")
    tables = disk.read_bytes(folder / TABLES)
    try:
        described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        found = hash_of(described["settings"], tables)
        if found != described["hash"]:
            raise ValueError(f"the files have the hash {found[:16]}, expected {str(described['hash'])[:16]}")
        parts: dict[str, dict[str, np.ndarray]] = {"energy": {}, "shape": {}, "network": {}}
        for name, array in _grown(safetensors.numpy.load(tables)).items():
            part, _, table = name.partition(".")
            parts[part][table] = array
        of = (superframes_of(parts["energy"]), superframes_of(parts["shape"]), layers_of(parts["network"]))
        asked = blocks.validate(Assembled, described["settings"], f"{folder / DESCRIPTION}: settings")
        codec = _codec_of(asked.model_dump(exclude={"about"}), *of)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)[:300]
        raise InputError(f"{folder}: is no codec written by mlquant ({reason})") from None
    return codec, found


def _scale_axis(name: str) -> int:
    """The axis along which a table has one scale: codebooks have one for each element, matrices one for each row."""
    return 0 if "codebook" in name else 1


def _shrunk(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tables of two dimensions as int8 with their scales; those of one as they are."""
    shrunk = {}
    for name, table in tensors.items():
        if table.ndim == 2:
            shrunk[name], shrunk[name + _SCALE] = eight_bit(table, _scale_axis(name))
        else:
            shrunk[name] = table
    return shrunk


def _grown(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tables float32 of those as they are written."""
    scaled = {name: table * tensors[name + _SCALE] for name, table in tensors.items() if name + _SCALE in tensors}
    return {name: scaled.get(name, table) for name, table in tensors.items() if not name.endswith(_SCALE)}


# The context network


def write_layers(path: Path, layers: Layers) -> None:
    """Write the layers of a context network."""
    disk.write_bytes(path, saved(tensors_of_layers(layers)))


def read_layers(path: Path) -> Layers:
    """Read them; InputError for a file that is none."""
    return read_tables(path, layers_of, "train-context")


def read_streams(
    features: Sequence[Path], targets: Sequence[Path], quantisers: tuple[Superframes, Superframes], asked: TrainContext
) -> tuple[Streams, Streams]:
    """Records and spectra of files of b and y at a pitch that is sent: exact, and with energy and shape quantised.

    Voicing is that which is sent. Raises InputError for files of different lengths.
    """
    T, each = asked.frames, []
    for b, y in read_pairs(features, targets):
        n = len(b) // T * T
        side = superframes.side_of(b[:n, 20], b[:n, 21], y[:n], T, asked.voicing_ms // 10)
        each.append((superframes.together(without_gain(b[:n]), T), *side, y[:n]))
    shapes, energies = ([one[i] for one in each] for i in (0, 1))
    energies_hat = superframe.quantised(quantisers[0], energies, _PATHS, _WAIT)
    known = [superframes.beside(energy, *one[2:4]) for energy, one in zip(energies_hat, each, strict=True)]
    shapes_hat = superframe.quantised(quantisers[1], shapes, _PATHS, _WAIT, known)

    def streams(shapes: Sequence[np.ndarray], energies: Sequence[np.ndarray]) -> Streams:
        together = zip(shapes, energies, each, strict=True)
        return [(context.record(shape, energy, *one[2:4]), one[4]) for shape, energy, one in together]

    return streams(shapes, energies), streams(shapes_hat, energies_hat)


def split(streams: Streams, held_out: float) -> tuple[Streams, Streams]:
    """Streams without the last share `held_out` of each, and these shares."""
    trained, held = [], []
    for own, y in streams:
        kept = int(len(own) * (1 - held_out))
        frames = kept * context.frames_of(own)
        trained.append((own[:kept], y[:frames]))
        held.append((own[kept:], y[frames:]))
    return trained, held
