"""The context network: spectra y_hat of a superframe from all that a codec sends of it and of those around it.

What is sent of a superframe of T frames is one record [23 T]: its shape, that is b without its mean, as the cosine
transform over time [20 T]; the energy of y in dB [T]; log2 of F0 in Hz [T]; voicing, 0 or 1 [T]. The network takes the
records of the superframe before, of this one and of the one after, and gives what is added to b, interpolated to the
79 points of y. Its spectra have unit energy; the energy that is sent scales them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlquant.core.errors import InputError, log, progress
from mlquant.networks.dense import Layers, rounded, rounded_layers
from mlquant.vocoder.superframes import apart

if TYPE_CHECKING:
    import torch

Streams = Sequence[tuple[np.ndarray, np.ndarray]]
"""Records [n, 23 T] of speech without gaps, and its spectra y [n T, 79]; of any number of files."""
OF_FRAME = 23  # numbers that a record has for each frame
POWER = 0.46  # of the amplitude; squared errors of that are errors of loudness (Stevens' law at middle levels)
_LEVEL_dB = 60.0  # level that counts as one
_BLOCK = 16  # superframes that pass the network together, so that a stream rounds as a file does


def frames_of(records: np.ndarray) -> int:
    """Frames of a superframe whose records are [n, 23 T]."""
    return records.shape[1] // OF_FRAME


def record(shapes: np.ndarray, energy: np.ndarray, log2_f0: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Records [n, 23 T] float32 of transformed shapes [n, 20 T], and energy, log2 F0 and voicing, [n, T] each."""
    return np.concatenate([shapes, energy, log2_f0, voiced], axis=1, dtype=np.float32, casting="same_kind")


def inputs(before: np.ndarray, own: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Inputs of the network [n, 69 T + 1] float32 for records [n, 23 T] of three superframes that follow each other."""
    T = frames_of(own)
    level = own[:, 20 * T : 21 * T].mean(axis=1, keepdims=True)
    parts = []
    for one in (before, own, after):
        shape, energy, log2_f0, voiced = np.split(one, [20 * T, 21 * T, 22 * T], axis=1)
        parts += [shape / 20, np.clip((energy - level) / 20, -2, 2), log2_f0 - 7, voiced]
    return np.concatenate([*parts, level / 20 - 3], axis=1, dtype=np.float32, casting="same_kind")


@cache
def interpolation() -> np.ndarray:
    """Matrix [79, 20]: b at its 20 frequencies to the 79 points of y, on straight lines, level beyond both ends."""
    from mlquant.vocoder.features import B_HZ, Y_HZ

    return np.stack([np.interp(Y_HZ, B_HZ, unit) for unit in np.eye(len(B_HZ))], axis=1).astype(np.float32)


def base(own: np.ndarray) -> np.ndarray:
    """Spectra [n, 79 T] in dB/20 of the shapes of records [n, 23 T] alone."""
    T = frames_of(own)
    shapes = apart(own[:, : 20 * T], T).reshape(-1, T, 20)
    return (np.einsum("njk,pk->njp", shapes, interpolation()) / 20).reshape(len(own), -1)


def spectra(layers: Layers, before: np.ndarray, own: np.ndarray, after: np.ndarray) -> np.ndarray:
    """y_hat [n T, 79] float32 in dB, with the energy that is sent, for records [n, 23 T] of superframes."""
    T = frames_of(own)
    x, hat = inputs(before, own, after), base(own)
    for start in range(0, len(x), _BLOCK):
        part = x[start : start + _BLOCK]
        value = np.pad(part, ((0, _BLOCK - len(part)), (0, 0)))
        for i, (W, b) in enumerate(layers):
            value = (np.maximum(value, 0) if i else value) @ W.T + b
        hat[start : start + _BLOCK] += value[: len(part)]
    hat = hat.reshape(-1, 79)
    energy = own[:, 20 * T : 21 * T].reshape(-1, 1)
    return (20 * (hat - _unit(hat)) + energy).astype(np.float32)


def loudness(y: np.ndarray) -> np.ndarray:
    """Loudness of spectra in dB, of any shape: amplitudes to the power 0.46, 1 at 60 dB."""
    return np.exp((y - _LEVEL_dB) * np.float32(POWER * np.log(10) / 20))


def _unit(hat: np.ndarray) -> np.ndarray:
    """log10 of the amplitude [n, 1] that has the energy of spectra [n, 79] in dB/20."""
    peak = hat.max(axis=1, keepdims=True)
    return peak + np.log10(np.sum(10 ** (2 * (hat - peak)), axis=1, keepdims=True, dtype=np.float32)) / 2


def train(
    settings: dict,
    exact: Streams,
    quantised: Streams,
    held_out: tuple[Streams, Streams],
    folder: Path,
) -> tuple[Layers, list[tuple]]:
    """Train on streams of records [n, 23 T] with their spectra y [n T, 79] in dB; the layers, and losses by epoch.

    It is trained for `epochs` on exact records, then for `finetune` epochs on quantised ones, as the settings say, then
    with weights rounded to 8 bits if `eight_bit` is set; the held-out streams are of both kinds too. The loss is the
    mean squared error of amplitudes to the power 0.46, at the level of the frame. A checkpoint in `folder` that was
    made with the same settings and data is continued. Raises InputError when a loss is not finite.
    """
    import torch

    from mlquant.networks import training

    torch.set_num_threads(settings["threads"])
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(settings["seed"])
    phases = [settings["epochs"], settings["finetune"]]
    sets, held_sets = ([_together(each) for each in pair] for pair in ((exact, quantised), held_out))
    T = frames_of(sets[0][0])
    network = _network([69 * T + 1, *settings["hidden"], 79 * T], settings["dropout"])
    optimiser = torch.optim.Adam(network.parameters(), lr=settings["lr"])
    identity = training.identity_of(settings, *(torch.from_numpy(array) for one in sets for array in one))
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / training.CHECKPOINT
    curve, _ = training.resume(checkpoint, identity, network, optimiser)
    count, epochs = len(sets[0][1]), sum(phases)
    batches = -(-count // settings["batch"])
    log(f"{count} superframes to train on, {len(held_sets[0][1])} held out, {epochs} epochs after {len(curve)}")
    for epoch in range(len(curve) + 1, epochs + 1):
        phase = int(epoch > phases[0])
        # Each phase begins at its own rate, the second at half of that, and ends at nothing.
        begun, length = (phases[0], phases[1]) if phase else (0, phases[0])
        data, held = sets[phase], held_sets[phase]
        order = np.random.default_rng([settings["seed"], epoch]).permutation(count)
        torch.manual_seed(settings["seed"] * 1_000_003 + epoch)  # what is dropped follows from the epoch
        network.train()
        through = partial(_rounded_through, network) if phase and settings["eight_bit"] else network
        total = 0.0
        for i, chosen in enumerate(np.array_split(order, batches)):
            done = (epoch - 1 - begun + i / batches) / length
            for group in optimiser.param_groups:
                group["lr"] = settings["lr"] * 0.5**phase * (1 + np.cos(np.pi * done)) / 2
            value = _loss(through, data[0], *(array[chosen] for array in data[1:]))
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            total += value.item() * len(chosen)
        network.eval()
        with torch.no_grad():
            parts = [slice(i, i + 4096) for i in range(0, len(held[1]), 4096)]
            losses = [_loss(through, held[0], *(array[part] for array in held[1:])).item() for part in parts]
        each = [len(held[1][part]) for part in parts]
        curve.append((epoch, total / count, float(np.average(losses, weights=each)) if parts else 0.0))
        if not np.isfinite(curve[-1]).all():
            raise InputError(
                f"epoch {epoch}: the loss is {curve[-1][1]:g} in training, {curve[-1][2]:g} held out, expected finite "
                f"values; lower the setting lr (now {settings['lr']:g})"
            )
        progress(f"epoch {epoch}/{epochs} loss {curve[-1][1]:.6f}, held out {curve[-1][2]:.6f}", done=epoch == epochs)
        run = {"identity": identity, "curve": curve, "seconds": 0.0}
        training.save_checkpoint(checkpoint, run, network, optimiser)
    checkpoint.unlink(missing_ok=True)
    linear = [layer for layer in network if isinstance(layer, torch.nn.Linear)]
    layers = [(layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()) for layer in linear]
    return rounded_layers(layers) if settings["eight_bit"] else layers, curve


def _rounded_through(network: torch.nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """Outputs of a network whose weights are rounded to 8 bits; their gradients are those of the weights themselves."""
    import torch

    for layer in network:
        if isinstance(layer, torch.nn.Linear):
            off = rounded(layer.weight.detach().numpy(), 1) - layer.weight.detach().numpy()
            x = torch.nn.functional.linear(x, layer.weight + torch.from_numpy(off), layer.bias)
        else:
            x = layer(x)
    return x


def _together(streams: Streams) -> tuple[np.ndarray, ...]:
    """All records with each stream's first and last repeated, places of the superframes in it, y of unit energy, level.

    Returns [N, 23 T], [n] int64, [n, T, 79] float32 in dB/20, [n, T, 1].
    """
    from mlquant.vocoder.features import energy_dB

    padded, places, targets, levels, at = [], [], [], [], 0
    for own, y in streams:
        padded.append(np.concatenate([own[:1], own, own[-1:]]))
        places.append(at + 1 + np.arange(len(own)))
        at += len(own) + 2
        E = energy_dB(y)[:, None]
        targets.append(((y - E) / 20).astype(np.float32).reshape(len(own), -1, 79))
        levels.append(((E - _LEVEL_dB) / 20).astype(np.float32).reshape(len(own), -1, 1))
    return tuple(np.concatenate(each) for each in (padded, places, targets, levels))


def _network(widths: list[int], dropout: float) -> torch.nn.Sequential:
    import torch

    layers: list[torch.nn.Module] = []
    for width, after in pairwise(widths):
        layers += [torch.nn.ReLU(), torch.nn.Dropout(dropout)] if layers else []
        layers.append(torch.nn.Linear(width, after))
    return torch.nn.Sequential(*layers)


def _loss(
    network: Callable[[torch.Tensor], torch.Tensor],
    records: np.ndarray,
    places: np.ndarray,
    targets: np.ndarray,
    levels: np.ndarray,
) -> torch.Tensor:
    import torch

    three = [records[places + offset] for offset in (-1, 0, 1)]
    x, own = torch.from_numpy(inputs(*three)), torch.from_numpy(base(three[1]))
    y, e = torch.from_numpy(targets), torch.from_numpy(levels)
    hat = (own + network(x)).reshape(y.shape)
    hat = hat - torch.logsumexp(hat * (2 * np.log(10)), dim=2, keepdim=True) / (2 * np.log(10))
    return ((10 ** (POWER * (hat + e)) - 10 ** (POWER * (y + e))) ** 2).mean()
