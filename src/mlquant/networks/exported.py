"""Trained networks as ONNX files, for programs on other stacks.

The encoder and the decoder of an autoencoder take and give what `inputs` makes of features: dB/20, with or without the
frame's energy as the settings say. The networks of a codec take and give records and numbers beside as they are there.
Any number of vectors passes at once. The packages of the extra `onnx` are needed.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from mlquant.core import disk
from mlquant.core.errors import InputError
from mlquant.networks import context, dense, inference
from mlquant.networks.dense import Layers
from mlquant.networks.model import AtWork, Network
from mlquant.vocoder.superframes import over_time

if TYPE_CHECKING:
    from vector_quantize_pytorch import FSQ

_LOG10 = float(np.log(10))


def write_network(folder: Path, weights: Path) -> None:
    """Write encoder.onnx, if the network has an encoder or a quantiser, and decoder.onnx of a weights.safetensors file.

    The encoder makes latents [n, latent_width], quantised if the network quantises them, of x [n, inputs]; the decoder
    makes output [n, outputs] of them. Raises InputError as `dense.load`.
    """
    at_work, settings = dense.load(weights, AtWork)
    network = at_work.network
    width = 79 if network.row.source == "y" else 22
    x = torch.from_numpy(inference.vectors(settings, np.ones((2 * settings["ncat"], width), np.float32)))
    if network.row.encoder or network.row.quantised:
        encoder = _Encoder(network)
        _write(folder / "encoder.onnx", encoder, {"x": x}, "latents")
        x = encoder(x).detach()
    _write(folder / "decoder.onnx", _Decoder(network), {"latents": x}, "output")


def write_codec(folder: Path, layers: Layers, beside: Layers) -> None:
    """Write context.onnx, of the layers of a context network, and beside.onnx, of those that tell of a shape, if any.

    The first makes y_hat [n, T, 79] in dB, as `context.spectra`, of the records [n, 23 T] `before`, `own` and `after`.
    The second makes of the numbers [n, D] `before` and `known` the `share` [n, 1] and what is added, `more` [n, K],
    as `Superframes.told`.
    """
    T = len(layers[-1][1]) // 79
    records = {name: torch.zeros(2, context.OF_FRAME * T) for name in ("before", "own", "after")}
    _write(folder / "context.onnx", _Context(layers, T), records, "y_hat")
    if beside:
        known = {name: torch.zeros(2, beside[0][0].shape[1] // 2) for name in ("before", "known")}
        _write(folder / "beside.onnx", _Beside(beside), known, "share", "more")


class _Context(nn.Module):
    """`context.spectra` with torch."""

    over_time: torch.Tensor
    interpolation: torch.Tensor

    def __init__(self, layers: Layers, T: int):
        super().__init__()
        self.T, self.layers = T, _sequential(layers)
        self.register_buffer("over_time", torch.from_numpy(over_time(T)))
        self.register_buffer("interpolation", torch.from_numpy(context.interpolation()))

    def forward(self, before: torch.Tensor, own: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        T = self.T
        energy = own[:, 20 * T : 21 * T]
        level = energy.mean(dim=1, keepdim=True)
        parts = []
        for one in (before, own, after):
            relative = torch.clamp((one[:, 20 * T : 21 * T] - level) / 20, -2, 2)
            parts += [one[:, : 20 * T] / 20, relative, one[:, 21 * T : 22 * T] - 7, one[:, 22 * T :]]
        more = self.layers(torch.cat([*parts, level / 20 - 3], dim=1)).reshape(-1, T, 79)
        shapes = self.over_time.T @ own[:, : 20 * T].reshape(-1, T, 20)
        hat = shapes @ self.interpolation.T + 20 * more
        power = hat * (_LOG10 / 10)
        return hat + energy[:, :, None] - torch.logsumexp(power, dim=2, keepdim=True) / (_LOG10 / 10)


class _Beside(nn.Module):
    """`Superframes.told` with torch."""

    def __init__(self, layers: Layers):
        super().__init__()
        self.layers = _sequential(layers)

    def forward(self, before: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        told = self.layers(torch.cat([before, known], dim=1))
        return torch.sigmoid(told[:, :1]), told[:, 1:]


def _sequential(layers: Layers) -> nn.Sequential:
    stack: list[nn.Module] = []
    for W, b in layers:
        linear = nn.Linear(W.shape[1], W.shape[0])
        linear.weight.data, linear.bias.data = torch.tensor(W), torch.tensor(b)
        stack += [linear, nn.ReLU()]
    return nn.Sequential(*stack[:-1])


class _Encoder(nn.Module):
    """The encoder of a network, and its quantiser: the search of the package itself cannot be exported."""

    def __init__(self, network: Network):
        super().__init__()
        self.network, self.quantiser = network, network.quantiser or nn.Identity()
        network.quantiser = None
        self.stages: list = []
        if network.row.quantised == "vq":
            self.stages = [*getattr(self.quantiser, "layers", [self.quantiser])]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        latents = self.network.encode(x)
        if self.network.row.quantised == "fsq":
            blocks = latents.unflatten(1, (len(self.network.entries_used), -1))
            return cast("FSQ", self.quantiser).quantize(blocks).flatten(1)
        left = latents
        for stage in self.stages:
            nearest = left @ stage.codebook.T - stage.codebook.square().sum(dim=1) / 2
            left = left - stage.codebook[nearest.argmax(dim=1)]
        return latents - left if self.stages else latents


class _Decoder(nn.Module):
    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.network.decode(latents)


def _write(path: Path, module: nn.Module, inputs: dict[str, torch.Tensor], *outputs: str) -> None:
    """Write a module as an ONNX file; its first axis is of any length."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"--onnx: {error.name} is not installed, expected the extra: pip install -e '.[onnx]'"
        ) from None
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=[{0: torch.export.Dim("n", min=1)}] * len(inputs),
            verbose=False,
        )
    assert program is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    disk.write_bytes(path, program.model_proto.SerializeToString())
