"""The steps of a coding chain, from features to speech: each says here what it does to files, and what to arrays.

A step is one command with its files and settings. The plan lists the steps of a chain with `steps_of` and folds them
over the files of a sample: `of_files` adds the command's node. `mlquant rate` takes the same steps as JSON, and `coder`
folds them over arrays: `of_arrays` calls the function that the command calls. By `takes` and `makes` the coder checks
first that the steps follow each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from mlquant.chains.settings import Noise, Synthesis
from mlquant.core.blocks import Block
from mlquant.core.errors import InputError
from mlquant.core.stage import Setting
from mlquant.networks.rows import row_of
from mlquant.quantisers.types import ResetEvery, SendEvery, Smooth, Survivors, Width

if TYPE_CHECKING:
    from mlquant.networks.dense import Dense
    from mlquant.networks.model import AtWork
    from mlquant.networks.settings import Network


@dataclass(frozen=True)
class Made:
    """What steps have made of a sample so far: paths of files in the plan, arrays in the coder.

    The features are b or b_hat [F, 22], or y or y_hat [F, 79]; y_hat gets the energy of `y` [F, 79]. The vectors [n, k]
    are shapes of b, or latents. The fields up to `model` are there before the first step. `name` is the sample's.
    """

    features: Any
    y: Any = None
    name: str = ""
    model: Any = None
    vectors: Any = None
    unquantised: Any = None
    quantised: Any = None
    b_hat: Any = None
    speech: Any = None

    def with_features(self, features: Any, kind: str) -> Made:
        """Return the same with the features of a step, b_hat if they are of kind "b", else y_hat."""
        return replace(self, features=features, b_hat=features if kind == "b" else self.b_hat)


class RemoveGain(Block):
    """Take the gain out of b, which leaves its shape."""

    step: Literal["remove_gain"] = "remove_gain"
    takes: ClassVar = ("b",)
    makes: ClassVar = "shapes"

    def of_files(self, graph: Any, made: Made) -> Made:
        node = graph.run("quantisers.remove_gain", made.name, self, features=made.features)
        return replace(made, vectors=node.file("shape.f32"))

    def of_arrays(self, made: Made) -> Made:
        from mlquant.quantisers import gain

        return replace(made, vectors=gain.without_gain(made.features))


class RestoreGain(Block):
    """Put the gain back to quantised shapes, which gives b_hat."""

    step: Literal["restore_gain"] = "restore_gain"
    takes: ClassVar = ("shapes",)
    makes: ClassVar = "b"

    def of_files(self, graph: Any, made: Made) -> Made:
        node = graph.run("quantisers.restore_gain", made.name, self, shapes=made.vectors, features=made.features)
        return made.with_features(node.file("b_hat.f32"), "b")

    def of_arrays(self, made: Made) -> Made:
        from mlquant.quantisers import gain

        return made.with_features(gain.with_gain(made.vectors, made.features), "b")


class _OfNetwork(Block):
    """A step through a network, from one of its `ends` to the other: "source", "latents" or "target"."""

    ends: ClassVar[tuple[str, str]]
    weights: Annotated[str, Setting(help="weights.safetensors of the network")]

    @cached_property
    def loaded(self) -> tuple[Dense | AtWork, dict]:
        """The network with its settings, read once."""
        from mlquant.networks import inference

        return inference.load(self.weights)

    @property
    def takes(self) -> tuple[str, ...]:
        return (self._end(self.ends[0]),)

    @property
    def makes(self) -> str:
        return self._end(self.ends[1])

    def _end(self, end: str) -> str:
        """Return what is there: latents, or the features that the row of the network has at this end."""
        row = self.loaded[0].row
        if end != "latents":
            return getattr(row, end)
        if not row.encoder:
            raise InputError(f"{self.weights}: has no bottleneck, so no latents")
        return end


class Encode(_OfNetwork):
    """Encode features to latents, by the encoder of a network."""

    step: Literal["encode"] = "encode"
    ends: ClassVar = ("source", "latents")

    def of_files(self, graph: Any, made: Made) -> Made:
        name = f"{made.name}_{graph.maker(self.weights).name}"
        return replace(made, vectors=graph.run("networks.encode", name, self, features=made.features).file("l.f32"))

    def of_arrays(self, made: Made) -> Made:
        from mlquant.networks import inference

        return replace(made, vectors=inference.encode(*self.loaded, made.features))


class Quantise(Block):
    """Quantise latents or shapes, and interpolate between the vectors that are sent.

    It has no `of_arrays`: the coder searches with several numbers of stages, and in all arrays at once.
    """

    step: Literal["quantise"] = "quantise"
    takes: ClassVar = ("shapes", "latents")
    makes: ClassVar = None  # vectors of the same kind
    quantiser: Annotated[str, Field(exclude=True), Setting(help="name of the quantiser, for names of files")] = ""
    codebooks: Annotated[list[str], Field(min_length=1), Setting(help="codebooks of the stages")]
    k: Width
    mbest: Survivors
    send_every: SendEvery
    reset_every: ResetEvery | None = None
    predict: Annotated[str | None, Setting(help="a prediction coefficient: a number")] = None
    predictor: Annotated[str | None, Setting(help="file of a coefficient written by vq-predictor")] = None
    smooth: Smooth = 0.0

    def of_files(self, graph: Any, made: Made) -> Made:
        name = f"{made.name}_{self.quantiser}"
        quantised = graph.run("quantisers.vq_search", name, self, latents=made.vectors).file("l_hat.f32")
        return replace(made, vectors=quantised, unquantised=made.vectors, quantised=quantised)

    def coefficient(self) -> float | None:
        """Return the prediction coefficient, or None; InputError for a reset of the prediction without one."""
        from mlquant.quantisers.files import read_coefficient

        a = read_coefficient(self.predict, Path(self.predictor) if self.predictor else None)
        if self.reset_every is not None and a is None:
            raise InputError("predict: none, expected a coefficient with reset_every")
        return a


class Decode(_OfNetwork):
    """Decode quantised latents to features, by the decoder of a network."""

    step: Literal["decode"] = "decode"
    ends: ClassVar = ("latents", "target")

    def of_files(self, graph: Any, made: Made) -> Made:
        return _of_network(graph, "networks.decode", self, made, latents=made.vectors)

    def of_arrays(self, made: Made) -> Made:
        from mlquant.networks import inference

        hat = inference.decode(*self.loaded, made.vectors, made.features, made.y)
        return made.with_features(hat, self.makes)


class Infer(_OfNetwork, Noise):
    """Pass features straight through a network, with noise on its latents if that is asked for."""

    step: Literal["infer"] = "infer"
    ends: ClassVar = ("source", "target")

    def of_files(self, graph: Any, made: Made) -> Made:
        return _of_network(graph, "networks.infer", self, made)

    def of_arrays(self, made: Made) -> Made:
        from mlquant.networks import inference

        noise = self.model_dump(include={*Noise.model_fields})
        return made.with_features(inference.infer(*self.loaded, made.features, made.y, **noise), self.makes)


def _of_network(graph: Any, command: str, step: Decode | Infer, made: Made, **inputs: str) -> Made:
    """Return what a network makes of files: features, with the energy of y if they are y_hat."""
    network = graph.maker(step.weights)
    target = row_of(network.settings).target
    if target == "y":
        inputs["energy"] = made.y
    node = graph.run(command, f"{made.name}_{network.name}", step, features=made.features, **inputs)
    return made.with_features(node.file("hat.f32"), target)


class Synthesise(Synthesis):
    """Synthesise speech from y_hat."""

    step: Literal["synthesise"] = "synthesise"
    takes: ClassVar = ("y",)
    makes: ClassVar = "speech"

    def of_files(self, graph: Any, made: Made) -> Made:
        node = graph.run("vocoder.synth", made.name, self, model=made.model, y_hat=made.features)
        return replace(made, speech=node.file("speech.wav"))

    def of_arrays(self, made: Made) -> Made:
        from mlquant.vocoder import decoder

        return replace(made, speech=decoder.decode(made.model, made.features, **self.model_dump(exclude={"step"})))


Step = RemoveGain | Encode | Quantise | RestoreGain | Decode | Infer | Synthesise


def steps_of(graph: Any, chain: Any) -> list[Step]:
    """Return the steps of a chain of networks, where the latents of one, or b before all, may be quantised."""
    config = graph.config
    of = config.quantisers[chain.quantiser].network if chain.quantiser else None
    steps: list[Step] = []
    if chain.quantiser and of is None:
        steps += quantised(graph, chain)
    for name in chain.networks:
        if of and encoder_of(config.networks, name) == of:
            steps += quantised(graph, chain, name)
        else:
            noise = _settings(Noise, chain) if chain.noise_var and config.networks[name].d else {}
            steps.append(Infer(weights=graph.weights(name), **noise))
    return [*steps, Synthesise(**_settings(Synthesis, chain))]


def quantised(graph: Any, by: Any, decoder: str | None = None) -> list[Step]:
    """Return the steps through the quantiser of a chain, or of a network that is trained on, with those around it.

    Latents are decoded by the network `decoder`; by default it is the one that the latents are of.
    """
    of = graph.config.quantisers[by.quantiser].network
    if of is None:
        return [RemoveGain(), Quantise(**graph.search(by)), RestoreGain()]
    encode, quantise = Encode(weights=graph.weights(of)), Quantise(**graph.search(by))
    return [encode, quantise, Decode(weights=graph.weights(decoder or of))]


def _settings(block: type[Block], chain: Any) -> dict[str, Any]:
    """Return those settings of a chain that stand in a block of it."""
    return chain.model_dump(include={*block.model_fields})


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
