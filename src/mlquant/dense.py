"""Trained networks of dense layers, run by numpy: torch takes longer to load than a sample takes to run.

What lies between the layers in `networks` is folded into them: batch normalisation, and what `zero_mean` and `dct` do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import safetensors
from threadpoolctl import threadpool_limits

from mlquant.architectures import row_of, widths_of
from mlquant.files import InputError
from mlquant.inputs import cosine_basis

Layers = list[tuple[np.ndarray, np.ndarray]]
"""W [outputs, inputs] and b [outputs] of each layer, float32; between layers is a ReLU."""
_BLOCK = 256


class Dense:
    """A trained network from arrays to arrays: `encoder`, without layers where there is no bottleneck, and `decoder`.

    Raises InputError for a network with more in it, KeyError and ValueError for a state that is of another network.
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
            raise ValueError(f"found {', '.join(state)} beside the layers")
        self.encoder, self.decoder = (
            [(W.astype(np.float32), b.astype(np.float32)) for W, b in layers] for layers in (encoder, decoder)
        )

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Latents [F, latent_width] float32 of inputs [F, inputs]; without a bottleneck, what its decoder takes."""
        if not self.encoder:
            return x
        latents = _through(self.encoder, x)
        latents = np.tanh(latents) if self.row.bottleneck == "tanh" else np.maximum(latents, 0)
        return constrained(latents) if self.symbols else latents

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Outputs [F, outputs] float32 of latents [F, latent_width]."""
        return _through(self.decoder, latents)


def _layers(state: dict[str, np.ndarray], part: str, widths: list[int], normalised: bool) -> Layers:
    """The layers of these widths of a part of a network, taken out of its state, in float64."""
    layers: Layers = []
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        place = (3 if normalised else 2) * i
        W, b = (state.pop(f"{part}.{place}.{name}") for name in ("weight", "bias"))
        if W.shape != (outputs, inputs) or b.shape != (outputs,):
            raise ValueError(f"{part}.{place}.weight: found shape {W.shape}, expected {(outputs, inputs)}")
        if normalised and i < len(widths) - 2:
            names = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
            gain, offset, mean, variance, _ = (state.pop(f"{part}.{place + 1}.{name}") for name in names)
            gain = gain / np.sqrt(variance + 1e-5)
            W, b = gain[:, None] * W, gain * (b - mean) + offset
        layers.append((W, b))
    return layers


def _through(layers: Layers, x: np.ndarray) -> np.ndarray:
    """Outputs [F, outputs] float32 of x [F, inputs].

    On one core and in whole blocks, the last one filled up: for fewer rows BLAS has kernels that round otherwise. So
    the result for a frame depends neither on how many frames there are nor on the number of cores.
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


def constrained(latents: np.ndarray) -> np.ndarray:
    """Latents [F, d] with symbols of magnitude above 1 scaled to 1; InputError for an odd d."""
    if latents.shape[1] % 2:
        raise InputError(f"d: found {latents.shape[1]}, expected an even number, for symbols of two latents each")
    symbols = latents.reshape(len(latents), -1, 2)
    return (symbols / np.maximum(np.linalg.norm(symbols, axis=2, keepdims=True), 1)).reshape(latents.shape)


def load(weights: str | Path, make: Callable[[dict, dict[str, np.ndarray]], object] = Dense) -> tuple:
    """What `make` makes of the settings and tensors of a weights.safetensors file, and the settings.

    Raises InputError for a file that is none of ours, and for one of a training that failed.
    """
    if not Path(weights).is_file():
        raise InputError(f"{weights}: no such file")
    try:
        with safetensors.safe_open(weights, "np") as file:
            metadata = file.metadata() or {}
            if "failed" in metadata:
                raise InputError(f"{weights}: the training of this network failed: {metadata['failed']}")
            settings = json.loads(metadata["settings"])
            return make(settings, {name: file.get_tensor(name) for name in file.keys()}), settings  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{weights}: not weights written by mlquant train ({reason})") from None
