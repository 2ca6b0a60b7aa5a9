"""Trained networks of dense layers, run by numpy: torch takes longer to load than a sample takes to run.

Batch normalisation, and what `zero_mean` and `dct` do in `model`, is folded into the layers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from threadpoolctl import threadpool_limits

from mlquant.core.disk import unreadable
from mlquant.core.errors import InputError
from mlquant.networks.inputs import cosine_basis
from mlquant.networks.rows import POOLING, checked_row, row_of, widths_of

Layers = list[tuple[np.ndarray, np.ndarray]]
"""W [outputs, inputs] and b [outputs] of each layer, float32; between layers is a ReLU."""
_BLOCK = 256
_WHOLE = {"nn": 99, "d": 1024, "ncat": 1024, "nvq": 64}  # settings that are whole numbers, and the most they can be


class Dense:
    """A trained network that maps arrays to arrays: an `encoder`, empty where there is no bottleneck, and a `decoder`.

    Raises InputError for a network with other than dense layers, KeyError and ValueError for another network's state.
    """

    def __init__(self, settings: dict, state: dict[str, np.ndarray]):
        self.row, self.symbols = row_of(settings), settings["symbols"]
        if self.row.beyond_dense:
            name = f"{settings['family']} {settings['nn']}"
            raise InputError(f"{name} is not made of dense layers alone ({self.row.beyond_dense})")
        state = {name: array.astype(np.float64) for name, array in state.items()}
        normalised = self.row.layers == "normalised"
        encoder, decoder = (
            _layers(state, part, widths, normalised)
            for part, widths in zip(("encoder", "decoder"), widths_of(settings), strict=True)
        )
        if settings["dct"]:
            basis = cosine_basis()
            (W, b), (V, c) = encoder[0], decoder[-1]
            encoder[0] = (W.reshape(len(W), -1, 20) @ basis.T).reshape(W.shape), b
            decoder[-1] = (
                (basis @ V.reshape(-1, 20, V.shape[1])).reshape(V.shape),
                (c.reshape(-1, 20) @ basis.T).ravel(),
            )
        if settings["zero_mean"]:
            mean = state.pop("mean")
            (W, b), (V, c) = encoder[0], decoder[-1]
            encoder[0], decoder[-1] = (W, b - W @ mean), (V, c + mean)
        if state:
            raise ValueError(f"found {', '.join(state)}, expected the layers only")
        self.encoder, self.decoder = (
            [(W.astype(np.float32), b.astype(np.float32)) for W, b in layers] for layers in (encoder, decoder)
        )

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Latents [F, latent_width] float32 of inputs [F, inputs]; without a bottleneck, the inputs."""
        if not self.encoder:
            return x
        latents = _through(self.encoder, x)
        latents = np.tanh(latents) if self.row.bottleneck == "tanh" else np.maximum(latents, 0)
        return constrained(latents) if self.symbols else latents

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Outputs [F, outputs] float32 of latents [F, latent_width]."""
        return _through(self.decoder, latents)


def _layers(state: dict[str, np.ndarray], part: str, widths: list[int], normalised: bool) -> Layers:
    """Take the layers of these widths, of a part of a network, out of its state, in float64."""
    layers: Layers = []
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        place = (3 if normalised else 2) * i
        W, b = (state.pop(f"{part}.{place}.{name}") for name in ("weight", "bias"))
        if W.shape != (outputs, inputs) or b.shape != (outputs,):
            raise ValueError(f"{part}.{place}.weight: found shape {W.shape}, expected {(outputs, inputs)}")
        if normalised and i < len(widths) - 2:
            names = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
            gain, offset, mean, variance, _ = (state.pop(f"{part}.{place + 1}.{name}") for name in names)
            if variance.min() < 0:
                raise ValueError(f"{part}.{place + 1}.running_var: found {variance.min():g}, expected 0 or more")
            gain = gain / np.sqrt(variance + 1e-5)
            W, b = gain[:, None] * W, gain * (b - mean) + offset
        layers.append((W, b))
    return layers


def _through(layers: Layers, x: np.ndarray) -> np.ndarray:
    """Outputs [F, outputs] float32 of x [F, inputs].

    It runs on one core and in whole blocks, the last one filled up, as BLAS rounds otherwise for fewer rows. So the
    result for a frame depends neither on how many frames there are nor on the number of cores.
    """
    output = np.empty((len(x), len(layers[-1][1])), np.float32)
    block = np.zeros((_BLOCK, x.shape[1]), np.float32)
    with threadpool_limits(1, user_api="blas"):
        for start in range(0, len(x), _BLOCK):
            part = x[start : start + _BLOCK]
            block[: len(part)] = part
            value = block
            for i, (W, b) in enumerate(layers):
                value = (np.maximum(value, 0) if i else value) @ W.T + b
            output[start : start + _BLOCK] = value[: len(part)]
    return output


def eight_bit(table: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """A table of two dimensions as int8, and the scales float32, along `axis` of length 1, by which to multiply it."""
    scale = np.abs(table).max(axis=axis, keepdims=True).astype(np.float32) / np.float32(127)
    scale[scale == 0] = 1
    return np.rint(table / scale).astype(np.int8), scale


def rounded(table: np.ndarray, axis: int) -> np.ndarray:
    """A table of two dimensions, float32, as it is after `eight_bit`."""
    whole, scale = eight_bit(table, axis)
    return whole * scale


def rounded_layers(layers: Layers) -> Layers:
    """Layers with weights as they are after `eight_bit`, with a scale a row."""
    return [(rounded(W, 1), b) for W, b in layers]


def constrained(latents: np.ndarray) -> np.ndarray:
    """Latents [F, d] with symbols of magnitude above 1 scaled to 1; InputError for an odd d."""
    if latents.shape[1] % 2:
        raise InputError(f"d: found {latents.shape[1]}, expected an even number, for symbols of two latents each")
    symbols = latents.reshape(len(latents), -1, 2)
    return (symbols / np.maximum(np.linalg.norm(symbols, axis=2, keepdims=True), 1)).reshape(latents.shape)


def load(weights: str | Path, make: Callable[[dict, dict[str, np.ndarray]], object] = Dense) -> tuple:
    """Return what `make` makes of the settings and tensors of a weights.safetensors file, and the settings.

    Raises InputError for a file that mlquant did not write, and for one of a training that failed. The settings are
    checked before a network is made of them.
    """
    if not Path(weights).is_file():
        raise unreadable(weights, IsADirectoryError() if Path(weights).is_dir() else FileNotFoundError())
    try:
        with safetensors.safe_open(weights, "np") as file:
            metadata = file.metadata() or {}
            if "failed" in metadata:
                raise InputError(f"{weights}: the training of this network failed: {metadata['failed']}")
            settings = _checked(json.loads(metadata["settings"]))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            for name, tensor in state.items():
                if not np.isfinite(tensor).all():
                    raise ValueError(f"{name[:100]}: holds NaN or infinity")
            return make(settings, state), settings
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)[:300]
        raise InputError(f"{weights}: not weights written by mlquant train ({reason})") from None


def _checked(settings: Any) -> dict:
    """Return the settings of a weights file; raise ValueError, which names the key, for those that no network can have.

    They are checked as far as running the network depends on them: the schema, which checks them all before a
    training, takes longer to load than a sample takes to run.
    """

    def expect(name: str, good: bool, expected: str) -> None:
        if not good:
            raise ValueError(f"settings.{name}: found {repr(settings[name])[:50]}, expected {expected}")

    if not isinstance(settings, dict):
        raise ValueError(f"settings: found a {type(settings).__name__}, expected an object")
    expect("family", isinstance(settings["family"], str), "text")
    for name, most in _WHOLE.items():
        value = settings[name]
        whole = type(value) is int and 1 <= value <= most
        expect(name, whole or (name == "d" and value is None), f"a whole number, 1 to {most}")
    for name in ("norm", "zero_mean", "dct", "symbols"):
        expect(name, isinstance(settings[name], bool), "true or false")
    numbers = {"lower_limit_dB": (-1e9, 1e9), "thresh": (-1e9, 1e9), "noise_var": (0, 1e9), "held_out": (0, 1)}
    for name, (lowest, highest) in numbers.items():
        value = settings[name]
        number = type(value) in (int, float) and lowest <= value <= highest
        expect(name, number or (value is None and lowest < 0), f"a number, {lowest:g} to {highest:g}")
    try:
        row = checked_row(settings["row"])
    except ValueError as error:
        raise ValueError(f"settings.row: {error}") from None
    expect("d", (settings["d"] is not None) == bool(row.encoder), "a width for a network with a bottleneck, else none")
    expect("ncat", settings["ncat"] == 1 or row.inputs == "b", "1")
    expect("ncat", settings["ncat"] % POOLING == 0 or row.layers != "conv", f"a multiple of {POOLING}")
    for name, plain in (("norm", True), ("zero_mean", False), ("dct", False), ("lower_limit_dB", None)):
        expect(name, settings[name] == plain or row.source == row.target == "b", f"{plain} for a network that makes y")
    if settings["symbols"]:
        expect("symbols", row.noisy, "false for a network without noise")
        expect("d", settings["d"] % 2 == 0, "an even number, for symbols of two latents each")
    return settings
