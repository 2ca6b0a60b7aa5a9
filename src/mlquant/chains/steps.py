"""A coding chain as a list of steps, from features to speech: declared once, for the plan and for the coder.

The plan folds the list over files, the coder over arrays. A step names networks and quantisers as the configuration
does. The plan gives the coder the name of each step with its files and settings. Of the settings of a chain, a step has
those that are in the signature of its command.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlquant.networks.settings import Network
    from mlquant.quantisers.settings import Quantiser


@dataclass(frozen=True)
class Encode:
    """Encode features to latents, by the encoder of a network."""

    network: str


@dataclass(frozen=True)
class RemoveGain:
    """Take the gain out of b, which leaves its shape."""


@dataclass(frozen=True)
class Quantise:
    """Quantise latents or shapes, by the first `stages` stages of a quantiser; None is all of them."""

    quantiser: str
    stages: int | None


@dataclass(frozen=True)
class RestoreGain:
    """Put the gain back to quantised shapes, which gives b_hat."""


@dataclass(frozen=True)
class Decode:
    """Decode quantised latents to features, by the decoder of a network."""

    network: str


@dataclass(frozen=True)
class Infer:
    """Pass features straight through a network."""

    network: str


@dataclass(frozen=True)
class Synthesise:
    """Synthesise speech from y_hat."""


Step = Encode | RemoveGain | Quantise | RestoreGain | Decode | Infer | Synthesise


def name_of(step: Step) -> str:
    """Return the name of a step in the settings of a coder: its class in small letters, as remove_gain."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(step).__name__).lower()


def steps_of(
    names: Sequence[str],
    quantiser: str | None,
    stages: int | None,
    networks: Mapping[str, Network],
    quantisers: Mapping[str, Quantiser],
) -> list[Step]:
    """Return the steps of a chain of networks, where the latents of one, or b before all, may be quantised."""
    of = quantisers[quantiser].network if quantiser else None
    steps: list[Step] = []
    if quantiser and of is None:
        steps += [RemoveGain(), Quantise(quantiser, stages), RestoreGain()]
    for name in names:
        if of and encoder_of(networks, name) == of:
            steps += [Encode(of), Quantise(str(quantiser), stages), Decode(name)]
        else:
            steps.append(Infer(name))
    return [*steps, Synthesise()]


def encoder_of(networks: Mapping[str, Network], name: str) -> str:
    """Return the network whose encoder a network uses: itself, or that of which it has the decoder, fine-tuned."""
    while initial := networks[name].finetune:
        name = initial
    return name


def with_initial(config: Any, networks: Iterable[str], quantisers: Collection[str]) -> tuple[list[str], set[str]]:
    """Return networks and quantisers, with the networks and quantisers that their training starts from or uses."""
    networks, quantisers = [*networks], {*quantisers}
    networks += [network for name in sorted(quantisers) if (network := config.quantisers[name].network)]
    for name in networks:  # it grows in the loop
        block = config.networks[name]
        if block.initial:
            quantisers.add(block.quantiser)
            networks += filter(None, (block.initial, config.quantisers[block.quantiser].network))
    return [*dict.fromkeys(networks)], quantisers
