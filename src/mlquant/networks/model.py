"""The networks, built from their rows of widths.

A network maps a frame, or `ncat` adjacent frames flattened, to a frame: b to y_hat, b or y through a bottleneck
of latents to b_hat or y_hat. What goes in and comes out is dB/20, that is log10 of the amplitude; preparing
it is in `inputs`, restoring it in `inference`. Codebooks and finite scalars inside of networks are those of the package
vector-quantize-pytorch (van den Oord et al., "Neural discrete representation learning", 2017; Mentzer et al.,
"Finite scalar quantization", 2023).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from mlquant.networks.inputs import cosine_basis
from mlquant.networks.rows import ENTRIES, LEVELS, POOLING, Row, row_of, widths_of

COMMITMENT = 0.25
"""Weight of the mean squared distance of latents from what an outer quantiser makes of them."""


class Network(nn.Module):
    """Encoder, bottleneck (activation, then noise in training or a quantiser) and decoder.

    Without a bottleneck the decoder is all of it. `zero_mean` and `dct` change b on its way in, and back on its way
    out, so that losses are always those of b. After a pass in training `commitment` is the quantiser's own loss, and
    `entries_used` [codebooks, ENTRIES] says which entries any pass has used since it was last cleared.
    """

    encoder: nn.Module
    decoder: nn.Module
    mean: torch.Tensor | None  # [20 * ncat], of b
    basis: torch.Tensor | None  # [20, 20], of the cosine transform

    def __init__(self, settings: dict):
        super().__init__()
        self.row = row_of(settings)
        self.noise_var, self.symbols = settings["noise_var"], settings["symbols"]
        frames, d = settings["ncat"], settings["d"]
        if self.row.layers == "conv":
            self.encoder, self.decoder = _convolutions(frames, 20, self.row.encoder[1], d)
        elif self.row.layers == "pitch":
            self.encoder, self.decoder = nn.Sequential(), PitchDecoder(*self.row.decoder)
        else:
            stacks = widths_of(settings)
            self.encoder, self.decoder = (_stack(widths, self.row.layers == "normalised") for widths in stacks)
        self.activation = {"tanh": torch.tanh, "relu": torch.relu}[self.row.bottleneck]
        self.quantiser = _quantiser(self.row, settings)
        self.commitment: torch.Tensor | float = 0.0
        self.entries_used = torch.zeros(settings["nvq"], ENTRIES, dtype=torch.bool)
        self.register_buffer("mean", torch.zeros(20 * frames) if settings["zero_mean"] else None)
        basis = torch.from_numpy(cosine_basis().astype(np.float32)) if settings["dct"] else None
        self.register_buffer("basis", basis, persistent=False)

    def start_at(self, mean: torch.Tensor) -> None:
        """Begin at the mean target [outputs]: `zero_mean` removes it; else an untrained decoder puts it out.

        An output that begins far above its target is thrown by `wloss` to where it has no gradient.
        """
        if self.mean is not None:
            self.mean.copy_(mean)
        bias = list(self.decoder.parameters())[-1]
        bias.data.copy_(self._transformed(mean[None]).reshape(-1, len(bias)).mean(dim=0))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Return latents [F, latent_width] of inputs [F, inputs], quantised if the network has a quantiser.

        Without a bottleneck they are the inputs.
        """
        latents = self._transformed(x)
        if self.row.encoder:
            latents = self.activation(self.encoder(latents))
        if self.symbols:
            pairs = latents.unflatten(1, (-1, 2))
            latents = (pairs / pairs.norm(dim=2, keepdim=True).clamp(min=1)).flatten(1)
        return latents if self.quantiser is None else self._quantised(latents, self.quantiser)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Outputs [F, outputs] of latents [F, latent_width]."""
        output = self.decoder(latents)
        if self.basis is not None:
            output = (output.reshape(-1, 20) @ self.basis.T).reshape(output.shape)
        return output if self.mean is None else output + self.mean

    def forward(
        self,
        x: torch.Tensor,
        noise: torch.Generator | None = None,
        quantise: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Outputs of inputs; with a generator, noise of variance `noise_var` is added to each latent vector.

        For `symbols` it is the variance at a mean symbol energy of 1; the ratio is the same at any energy. With
        `quantise` the decoder gets what that function returns for the latents. The decoder's gradient passes straight
        through to the encoder (van den Oord et al.), and the distance of both latents gives the `commitment`.
        """
        latents = self.encode(x)
        if quantise is not None:
            quantised = quantise(latents.detach())
            self.commitment = COMMITMENT * (latents - quantised).square().mean()
            return self.decode(latents + (quantised - latents).detach())
        if noise is not None and self.noise_var > 0:
            energy = 2 * latents.square().mean() if self.symbols else 1.0
            latents = latents + (energy * self.noise_var) ** 0.5 * self._drawn(latents, noise)
        return self.decode(latents)

    @staticmethod
    def _drawn(latents: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        """Standard normal noise for latents: drawn on the CPU, so that it is the same on every device."""
        return torch.randn(latents.shape, generator=noise).to(latents.device)

    def _transformed(self, x: torch.Tensor) -> torch.Tensor:
        """Inputs without their mean, as cosine coefficients frame by frame, where the settings say so."""
        x = x if self.mean is None else x - self.mean
        return x if self.basis is None else (x.reshape(-1, 20) @ self.basis).reshape(x.shape)

    def _quantised(self, latents: torch.Tensor, quantiser: nn.Module) -> torch.Tensor:
        if self.row.quantised == "fsq":
            blocks = latents.reshape(len(latents), len(self.entries_used), -1)
            return quantiser(blocks)[0].reshape(latents.shape)
        output, indices, commitment = quantiser(latents[None])
        self.commitment = commitment.sum()
        for codebook, used in zip(indices[0].reshape(len(latents), -1).T, self.entries_used, strict=True):
            used[codebook.cpu()] = True
        return output[0]


class AtWork:
    """A trained network that torch runs, where it has more than dense layers. `dense.Dense` does the same faster."""

    def __init__(self, settings: dict, state: dict[str, np.ndarray]):
        torch.set_num_threads(1)  # results must not depend on the number of cores
        self.row, self.network = row_of(settings), Network(settings).eval()
        self.network.load_state_dict({name: torch.tensor(array) for name, array in state.items()})

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Latents [F, latent_width] float32 of inputs [F, inputs], as `Network.encode`."""
        return self._in_blocks(self.network.encode, x)

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Outputs [F, outputs] float32 of latents [F, latent_width]."""
        return self._in_blocks(self.network.decode, latents)

    @torch.no_grad()
    def _in_blocks(self, function: Callable, vectors: np.ndarray) -> np.ndarray:
        """Encoder or decoder of vectors [F, n]: hidden layers of a whole corpus would not fit in memory."""
        blocks = torch.tensor(vectors, dtype=torch.float32).split(8192)
        return torch.cat([function(block) for block in blocks]).numpy()


class PitchDecoder(nn.Module):
    """b, log10(Wo) and voicing [F, 22] to y_hat; Wo passes layers of its own and joins b, then the first hidden layer.

    The voicing is not used. The widths are those of the input, two hidden layers and the output.
    """

    def __init__(self, inputs: int, first: int, second: int, outputs: int, of_Wo: int = 32):
        super().__init__()
        self.Wo = _stack([1, of_Wo, of_Wo])
        self.first = nn.Linear(inputs - 2 + of_Wo, first)
        self.second = nn.Linear(first + of_Wo, second)
        self.last = nn.Linear(second, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Wo = torch.relu(self.Wo(x[:, 20:21]))
        hidden = torch.relu(self.first(torch.cat([x[:, :20], Wo], dim=1)))
        return self.last(torch.relu(self.second(torch.cat([hidden, Wo], dim=1))))


def _convolutions(frames: int, inputs: int, hidden: int, d: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Encoder and decoder that convolve over time, with a vector of d latents for each POOLING frames."""
    from einops.layers.torch import Rearrange

    def over_time(frames: int, *layers: nn.Module) -> nn.Sequential:
        return nn.Sequential(Rearrange("f (t n) -> f n t", t=frames), *layers, Rearrange("f n t -> f (t n)"))

    def conv(channels: int, outputs: int) -> nn.Conv1d:
        return nn.Conv1d(channels, outputs, 3, padding="same")

    half = POOLING // 2
    encoder = [conv(inputs, hidden), nn.ReLU(), nn.MaxPool1d(half), conv(hidden, d), nn.MaxPool1d(half)]
    decoder = [nn.Upsample(scale_factor=half), conv(d, hidden), nn.ReLU(), nn.Upsample(scale_factor=half)]
    return over_time(frames, *encoder), over_time(frames // POOLING, *decoder, conv(hidden, inputs))


def _stack(widths: list[int], normalised: bool = False) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them, none after the last; no layers for no widths."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), *([nn.BatchNorm1d(outputs)] if normalised else []), nn.ReLU()]
    return nn.Sequential(*layers[: -2 if normalised else -1])


def _quantiser(row: Row, settings: dict) -> nn.Module | None:
    if row.quantised is None:
        return None
    from loguru import logger
    from vector_quantize_pytorch import FSQ, ResidualVQ, VectorQuantize

    logger.disable("vector_quantize_pytorch")  # warns of a first batch with fewer vectors than entries
    if row.quantised == "fsq":
        # tanh bounds the latents; a second bound would leave 6 levels. A list of all 8^d codes would fill the memory.
        return FSQ([LEVELS] * settings["d"], bound_hard_clamp=True, return_indices=False)
    # Entries start at vectors of the first batch, and ones that fall out of use move to vectors of a later one.
    trained = {"codebook_size": ENTRIES, "decay": 0.8, "kmeans_init": True, "threshold_ema_dead_code": 2}
    if row.encoder:
        return VectorQuantize(dim=settings["d"], commitment_weight=1.0, **trained)
    return ResidualVQ(dim=row.inputs, num_quantizers=settings["nvq"], commitment_weight=0.25, **trained)
