"""Scalar settings of networks, and the files of commands that train, for blocks of settings and for signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mlquant.core.stage import Aside, File, Json, Setting
from mlquant.core.types import Seed, Stages, Survivors
from mlquant.vocoder.types import Thresh

__all__ = [
    "FILES",
    "HELD_OUT_BELOW",
    "Folder",
    "HeldOut",
    "HeldOutTargets",
    "KeepFailure",
    "NoiseVar",
    "Seed",
    "Settings",
    "Share",
]
__all__ += ["Stages", "Survivors", "Targets", "Threads", "Thresh", "Training"]

NoiseVar = Annotated[float, Setting(help="variance of Gaussian noise on the latents", ge=0)]
Share = Annotated[float, Setting(help="share of each file, at its end, that is never trained on", gt=0, lt=1)]
Threads = Annotated[int, Setting(help="threads of the training; the last digits depend on their number", gt=0, le=1024)]

Settings = Annotated[
    Json,
    Setting(
        help="JSON text or file, such as settings.json of a network",
        flag="--settings",
        block="mlquant.networks.settings:NetworkSettings",
    ),
]
Training = Annotated[list[Path], File(help="22 floats a frame", flag="--features", metavar="B.f32")]
Targets = Annotated[
    list[Path], File(help="79 floats a frame, for networks that make y_hat", flag="--target", metavar="Y.f32")
]
HeldOut = Annotated[
    list[Path],
    File(help="features of other voices, to measure the training on", flag="--held-out", metavar="B.f32"),
]
HeldOutTargets = Annotated[
    list[Path], File(help="their y, for networks that make y_hat", flag="--held-out-target", metavar="Y.f32")
]
KeepFailure = Annotated[bool, Aside(help="if the training fails, write the reason and exit with status 0")]
Folder = Annotated[Path, File(help="weights, settings and loss curve", flag="--out", metavar="DIR")]
HELD_OUT_BELOW = (
    "A held-out loss can lie below the training loss: noise is added to the latents in training only, the training "
    "loss is a mean over an epoch in which the network still gets better, and the held-out speech may be easier."
)
"""What is said wherever loss curves are shown."""
FILES = ("weights.safetensors", "settings.json", "losses.csv", "training.json", "provenance.json")
"""Files of a folder that holds a trained network."""
