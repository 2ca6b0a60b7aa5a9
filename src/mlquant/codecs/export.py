"""A decoder in C of a codec: the fixed part, which is the same for all, and the codec's numbers as tables.

The C decoder does what `codec.decode` does, in float32; the fixed part lies in the folder `c` beside this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from mlquant.codecs.codec import Codec, FADE_dB
from mlquant.core import disk
from mlquant.core.records import FRAME
from mlquant.networks.dense import Layers, eight_bit
from mlquant.quantisers.superframe import Superframes
from mlquant.vocoder.features import B_HZ, Y_HZ
from mlquant.vocoder.superframes import SENT, over_time

FIXED = Path(__file__).parent / "c"
MADE = "/* Made by `mlquant export` of a codec: its tables, in tables.c, and their sizes, in tables.h. */"
_FFT = 512


def write(folder: Path, codec: Codec, codec_hash: str) -> None:
    """Write the folder of the decoder in C of a codec."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(FIXED.iterdir()):
        text = path.read_text(encoding="utf-8")
        disk.write_text(folder / path.name, Template(text).substitute(_told(codec)) if path.suffix == ".md" else text)
    disk.write_text(folder / "tables.h", _header(codec, codec_hash))
    disk.write_text(folder / "tables.c", "\n".join([MADE, '#include "tables.h"', "", *_tables(codec), ""]))


def _told(codec: Codec) -> dict[str, str]:
    """What the README tells of a codec, by name."""
    T = codec.frames
    state = (T + 20 * T + 2 * T + 3) + 2 * 24 * T + 8 + 80 + 2 * _widest(codec) + 79 * T + 2 * _FFT
    return {
        "bit_rate": f"{codec.bit_rate:g}",
        "tables_kB": f"{codec.table_bytes(codec.eight_bit) / 1000:.0f}",
        "struct_kB": f"{4 * state / 1000:.0f}",
        "millions": f"{codec.multiplications / 1e6:.1f}",
        "bits": str(codec.bits),
        "samples": str(FRAME * T),
        "delay_ms": f"{codec.delay_ms:g}",
        "ahead_ms": str(10 * T),
    }


def _widest(codec: Codec) -> int:
    """The most inputs or outputs that a layer has."""
    return max(width for layers in (codec.layers, codec.shape.layers) for W, _ in layers for width in W.shape)


def _header(codec: Codec, codec_hash: str) -> str:
    constants = {
        "HASH": "{" + ", ".join(f"0x{byte:02x}" for byte in bytes.fromhex(codec_hash[:16])) + "}",
        "BITS": codec.bits,
        "FRAMES": codec.frames,
        "VOICING_FRAMES": codec.voicing_frames,
        "PITCH_FRAMES": codec.pitch.frames,
        "PITCH_BITS": codec.pitch.bits,
        "OFFSET_BITS": (max(len(codec.pitch.offsets), 1) - 1).bit_length(),
        "ENERGY_STAGES": len(codec.energy.codebooks),
        "SHAPE_STAGES": len(codec.shape.codebooks),
        "SIDE_LAYERS": len(codec.shape.layers),
        "NETWORK_LAYERS": len(codec.layers),
        "WIDEST": _widest(codec),
        "POSTFILTER": _number(codec.postfilter),
        "EIGHT_BIT": int(codec.eight_bit),
        "LEAST_DB": _number(SENT[0]),
        "MOST_DB": _number(SENT[1]),
        "FADE_DB": _number(FADE_dB),
    }
    return "\n".join(
        [
            MADE,
            "#ifndef MLQ_TABLES_H",
            "#define MLQ_TABLES_H",
            "",
            "#include <stdint.h>",
            "",
            *(f"#define MLQ_{name} {value}" for name, value in constants.items()),
            "",
            f"typedef {'int8_t' if codec.eight_bit else 'float'} mlq_number;",
            "",
            "typedef struct {",
            "    int inputs, outputs;",
            "    const mlq_number *weight; /* [outputs][inputs], times scale[outputs] if that is there */",
            "    const float *scale, *bias; /* [outputs] */",
            "} mlq_layer;",
            "",
            "typedef struct {",
            "    int width, stages;",
            "    const int *bits;            /* [stages] */",
            "    const float *mean;          /* [width] */",
            "    const mlq_number *predictor; /* [width][width], times predictor_scale[width] if that is there */",
            "    const mlq_number *codebooks; /* of all stages, [2^bits][width] each, times scales[width] of each */",
            "    const float *predictor_scale, *codebook_scales;",
            "} mlq_quantiser;",
            "",
            "extern const mlq_quantiser mlq_of_energy, mlq_of_shape;",
            "extern const mlq_layer mlq_side[], mlq_network[];",
            "extern const double mlq_levels[], mlq_offsets[]; /* octaves, log2 of Hz */",
            "extern const float mlq_over_time[];              /* cosine transform [cosine][frame] */",
            "extern const int mlq_from[];                     /* the spectrum's points lie between b's at this one, */",
            "extern const float mlq_part[];                   /* and the next, this far */",
            "extern const float mlq_cosine[], mlq_sine[];",
            "",
            "#endif",
            "",
        ]
    )


def _tables(codec: Codec) -> Iterator[str]:
    for name, quantiser in (("energy", codec.energy), ("shape", codec.shape)):
        yield from _quantiser(name, quantiser, codec.eight_bit)
    for name, layers in (("side", codec.shape.layers), ("network", codec.layers)):
        yield from _network(name, layers, codec.eight_bit)
    yield _array("double mlq_levels", codec.pitch.levels, repr)
    yield _array("double mlq_offsets", codec.pitch.offsets or [0.0], repr)
    yield _array("float mlq_over_time", over_time(codec.frames).ravel())
    place = np.interp(Y_HZ, B_HZ, np.arange(len(B_HZ)))
    lower = np.minimum(place.astype(int), len(B_HZ) - 2)
    yield _array("int mlq_from", lower, str)
    yield _array("float mlq_part", place - lower)
    angle = 2 * np.pi / _FFT * np.arange(_FFT // 2)
    yield _array("float mlq_cosine", np.cos(angle))
    yield _array("float mlq_sine", np.sin(angle))


def _quantiser(name: str, quantiser: Superframes, small: bool) -> Iterator[str]:
    bits = [len(codebook).bit_length() - 1 for codebook in quantiser.codebooks]
    yield _array(f"int {name}_bits", bits, str, static=True)
    yield _array(f"float {name}_mean", quantiser.mean, static=True)
    yield from _numbers(f"{name}_predictor", [quantiser.predictor], 1, small)
    yield from _numbers(f"{name}_codebooks", quantiser.codebooks, 0, small)
    parts = [len(quantiser.mean), len(bits), *(f"{name}_{part}" for part in ("bits", "mean", "predictor", "codebooks"))]
    parts += [f"{name}_{part}_scale" if small else 0 for part in ("predictor", "codebooks")]
    yield f"const mlq_quantiser mlq_of_{name} = {{{', '.join(map(str, parts))}}};"


def _network(name: str, layers: Layers, small: bool) -> Iterator[str]:
    rows = []
    for i, (W, b) in enumerate(layers):
        yield from _numbers(f"{name}_weight{i}", [W], 1, small)
        yield _array(f"float {name}_bias{i}", b, static=True)
        scale = f"{name}_weight{i}_scale" if small else 0
        rows.append(f"    {{{W.shape[1]}, {W.shape[0]}, {name}_weight{i}, {scale}, {name}_bias{i}}},")
    yield "\n".join([f"const mlq_layer mlq_{name}[] = {{", *(rows or ["    {0, 0, 0, 0, 0},"]), "};"])


def _numbers(name: str, tables: Sequence[np.ndarray], axis: int, small: bool) -> Iterator[str]:
    """Tables one after the other and, where they have 8 bits, their scales."""
    if small:
        wholes, scales = zip(*(eight_bit(table, axis) for table in tables), strict=True)
        yield _array(f"mlq_number {name}", np.concatenate(wholes).ravel(), str, static=True)
        yield _array(f"float {name}_scale", np.concatenate([scale.ravel() for scale in scales]), static=True)
    else:
        yield _array(f"mlq_number {name}", np.concatenate(tables).ravel(), static=True)


def _number(value: float) -> str:
    text = f"{np.float32(value):.9g}"
    return text + ("f" if "." in text or "e" in text else ".0f")


def _array(name: str, values: Iterable[Any], number: Callable[[Any], str] = _number, static: bool = False) -> str:
    """A constant array of the type and name that `name` has."""
    numbers = [number(value) for value in (values.tolist() if isinstance(values, np.ndarray) else values)]
    lines = [", ".join(numbers[i : i + 8]) + "," for i in range(0, len(numbers), 8)]
    return "\n".join([f"{'static ' if static else ''}const {name}[] = {{", *lines, "};"])
