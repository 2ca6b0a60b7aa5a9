"""What listening tests take of an experiment."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from mlquant.core.errors import InputError
from mlquant.listening.settings import STIMULI, Listening, Mushra

if TYPE_CHECKING:
    from mlquant.plan.config import Config
    from mlquant.plan.graph import Graph


def tests_of(config: Config) -> dict[str, Listening]:
    """Return all listening tests by name: one of each experiment, with all defaults, and those of the configuration."""
    of_all = {name: Mushra(kind="mushra", experiment=name) for name in config.experiments}
    return of_all | config.listening


def heard(config: Config, test: Listening) -> list[str]:
    """Return the samples of a listening test, in the order of its experiment."""
    samples = [one for one in config.experiments[test.experiment].samples if one in test.samples or not test.samples]
    if not test.at_most or test.at_most >= len(samples):
        return samples
    chosen = random.Random(test.seed).sample(samples, test.at_most)
    return [sample for sample in samples if sample in chosen]


def settings_of(graph: Graph, name: str, test: Listening) -> dict[str, Any]:
    """Return the settings that the page of a listening test is made by.

    Raises InputError for more, or fewer, outputs than a test can have. That is told when the page is asked
    for: these depend on the experiment, which may change without a thought of its tests.
    """
    experiment = graph.config.experiments[test.experiment]
    outputs = len(test.outputs or experiment.outputs)
    where = f"config: listening.{name}"
    if test.kind == "mushra" and outputs > (most := STIMULI - 1 - bool(test.anchor)):
        beside = "the hidden reference and the anchor" if test.anchor else "the hidden reference"
        raise InputError(f"{where}.outputs: found {outputs}, expected at most {most} beside {beside}")
    if test.kind == "preference" and outputs < 2:
        raise InputError(f"{where}.outputs: found {outputs}, expected two or more to compare")
    names = heard(graph.config, test)
    settings = test.model_dump(mode="json", exclude={"experiment", "at_most"}) | {"name": name, "samples": names}
    if mode := settings.get("anchor"):
        settings["anchors"] = {one: graph.codec2(graph.sample(one)).file(f"{mode}.wav") for one in names}
    return settings
