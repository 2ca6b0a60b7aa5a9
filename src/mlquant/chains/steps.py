"""A coding chain as a list of steps, from features to speech: stated once, for the plan and for the coder.

The plan folds the list over files, the coder over arrays. A step names what it uses as the configuration does; the
coder is given its name, and with it the files and the settings that the plan puts in. Of the settings of a chain each
step has those that the signature of its command has.
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
    """Features to latents, by the encoder of a network."""

    network: str


@dataclass(frozen=True)
class RemoveGain:
    """b to its shape, which is b without its gain."""


@dataclass(frozen=True)
class Quantise:
    """Latents or shapes to quantised ones, by the codebooks of the first `stages` of a quantiser."""

    quantiser: str
    stages: int | None


@dataclass(frozen=True)
class RestoreGain:
    """Quantised shapes to b_hat."""


@dataclass(frozen=True)
class Decode:
    """Quantised latents to features, by the decoder of a network."""

    network: str


@dataclass(frozen=True)
class Infer:
    """Features straight through a network."""

    network: str


@dataclass(frozen=True)
class Synthesise:
    """y_hat to speech."""


Step = Encode | RemoveGain | Quantise | RestoreGain | Decode | Infer | Synthesise


def name_of(step: Step) -> str:
    """The name of a step in the settings of a coder: that of its class in small letters, as remove_gain."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(step).__name__).lower()


def steps_of(
    names: Sequence[str],
    quantiser: str | None,
    stages: int | None,
    networks: Mapping[str, Network],
    quantisers: Mapping[str, Quantiser],
) -> list[Step]:
    """The steps of a chain of networks, at one of which its latents, or before which b itself, are quantised."""
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
