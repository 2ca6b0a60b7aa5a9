"""The commands of networks: training, and passing features and latents through trained networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mlquant.core.stage import File, Record, Root, Setting, stage
from mlquant.networks.types import (
    FILES,
    Folder,
    HeldOut,
    HeldOutTargets,
    KeepFailure,
    NoiseVar,
    Seed,
    Settings,
    Targets,
    Training,
)
from mlquant.vocoder.types import Pairs, Thresh

SPECTRA = "22 floats a frame, or the 79 of y for a network that takes y"
Weights = Annotated[Path, File(help="weights.safetensors of a trained network")]
Energy = Annotated[
    Path | None, File(help="energy of y_hat; by default that of b", flag="--energy-from", metavar="Y.f32")
]
Latents = Annotated[Path, File(help="d floats a vector")]
Hat = Annotated[Path, File(help="22 or 79 floats a frame", flag="--out")]


@stage("networks", out=FILES, example="--settings settings.json --features b.f32 --target y.f32 -o manifold")
def train(
    settings: Settings,
    features: Training,
    targets: Targets = [],  # noqa: B006
    held_out_features: HeldOut = [],  # noqa: B006
    held_out_targets: HeldOutTargets = [],  # noqa: B006
    *,
    out: Folder,
    keep_failure: KeepFailure = False,
    record: Record = None,
    root: Root = None,
) -> None:
    """Train a network."""
    from mlquant.networks import files

    read = {"features": features, "targets": targets}
    read |= {"held_out_features": held_out_features, "held_out_targets": held_out_targets}
    files.train("train", settings, read, out, keep_failure, record, root)


@stage("figures", png="losses.png", example="losses.csv --title manifold -o losses.png")
def plot_losses(
    losses: Annotated[Path, File(help="losses.csv written by train")],
    *,
    title: Annotated[str, Setting(help="what stands above the figure")] = "",
    png: Annotated[Path, File(help="figure of loss and SD against epochs", flag="--out")],
) -> None:
    """Plot a network's loss curve."""
    from mlquant.core import figures

    figures.plot_losses(losses, title, png)


@stage("latents", l="l.f32", example="weights.safetensors b.f32 -o l.f32")
def encode(
    weights: Weights,
    features: Annotated[list[Path], File(help=SPECTRA)],
    *,
    training_share: Annotated[bool, Setting(help="leave out what the training held out of each file")] = False,
    thresh: Thresh | None = None,
    pairs: Pairs | None = None,
    l: Annotated[Path, File(help="d floats a vector", flag="--out")],  # noqa: E741
) -> None:
    """Encode features to latents."""
    from mlquant.networks import files, inference, rows
    from mlquant.vocoder import chosen

    network, settings = inference.load(weights)
    kept = []
    for read in (files.read_spectra(path, settings) for path in features):
        if training_share:
            read = read[: rows.training_frames(settings, len(read))]
        latents = inference.encode(network, settings, read)
        loud = chosen.loud(read, thresh, settings["ncat"])
        kept.append(chosen.to_train_on(latents, loud, pairs))
    chosen.write(l, kept, features, thresh, pairs)


@stage("decoded", hat="hat.f32", example="weights.safetensors l_hat.f32 --features b.f32 -o b_hat.f32")
def decode(
    weights: Weights,
    latents: Latents,
    features: Annotated[
        Path, File(help="energy, Wo and voicing are passed on from here", flag="--features", metavar="B.f32")
    ],
    energy: Energy = None,
    *,
    hat: Hat,
) -> None:
    """Decode latents to features."""
    from mlquant.core import records
    from mlquant.networks import files, inference, rows

    network, settings = inference.load(weights)
    read = records.read_f32(latents, rows.latent_width(settings) or 1)
    spectra = files.read_spectra(features, settings)
    y = files.read_energy(energy, spectra)
    records.write_f32(hat, inference.decode(network, settings, read, spectra, y))


@stage("inferred", hat="hat.f32", example="weights.safetensors b.f32 --energy-from y.f32 -o y_hat.f32")
def infer(
    weights: Weights,
    features: Annotated[Path, File(help=SPECTRA)],
    energy: Energy = None,
    *,
    noise_var: NoiseVar = 0.0,
    seed: Seed = 1,
    hat: Hat,
) -> None:
    """Pass features straight through a network."""
    from mlquant.core import records
    from mlquant.networks import files, inference

    network, settings = inference.load(weights)
    spectra = files.read_spectra(features, settings)
    y = files.read_energy(energy, spectra)
    records.write_f32(hat, inference.infer(network, settings, spectra, y, noise_var, seed))
