"""What differs between two experiments, in plain words: what the configuration says of a setting is said here too."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from mlquant.chains.settings import Chain, Noise, Output, Synthesis
from mlquant.core.blocks import Block
from mlquant.core.stage import Setting
from mlquant.experiments.settings import Experiment
from mlquant.networks.settings import Network
from mlquant.quantisers.settings import CodebookStage, Predictive
from mlquant.quantisers.types import Entries, SendEvery, Width
from mlquant.speech.settings import Part, Sample, Source
from mlquant.vocoder.settings import Features

ABSENT, ONLY_HERE = "-", "only here"
"""What stands in the table of differences for no value, and for a node that the other experiment does not have."""
SEVERAL = "several"
"""What stands for the value of a list of settings, such as the urls of a source."""
_KINDS: dict[str, tuple[str, str, tuple[type[Block], ...]]] = {
    "experiment": ("", "", (Experiment,)),
    "output": ("output", "outputs", (Output,)),
    "networks": ("network", "networks", (Network,)),
    "codebooks": ("codebook", "codebooks", (CodebookStage,)),
    "quantised": ("search of", "searches of", (Chain, Predictive)),
    "corpora": ("corpus", "corpora", (Part,)),
    "samples": ("speech", "speech", (Sample,)),
    "sources": ("source", "sources", (Source,)),
    "features": ("features", "features", (Features,)),
    "latents": ("latents", "latents", (Predictive,)),
    "inferred": ("inference of", "inferences of", (Noise,)),
    "synthesised": ("synthesis", "syntheses", (Synthesis,)),
}
"""Kinds of places in the order in which they are told: words for one and for several, and the blocks of settings."""
_OF_COMMANDS: dict[str, Any] = {"k": Width, "m": Entries, "send_every": SendEvery}
"""Types of settings that are of commands only."""
_NAMED = ("networks", "codebooks", "corpora", "samples", "sources")
"""Kinds that are told where one experiment alone has them; the others follow from these."""
_SHOWN = ("title", "lowered", "tag", "processing", "shows")
"""Keys that a comparison shows as they are, above its differences or in its tables."""
_NAMES = ("samples", "outputs", "samples left out")
"""What is a list of names, of which each experiment has some alone."""
_MOST = 3  # most names or values that a line writes out


@dataclass(frozen=True)
class Difference:
    """A setting that differs in the same way in one or more places of a kind, with its values as texts."""

    kind: str
    places: tuple[str, ...]
    setting: str
    a: str
    b: str

    @property
    def place(self) -> str:
        """The places in words, as network nn4_cat1, or 14 corpora."""
        one, several, _ = _KINDS.get(self.kind, (self.kind, self.kind, ()))
        if len(self.places) > _MOST:
            return f"{len(self.places)} {several.removesuffix(' of')}"
        names = [name for name in self.places if name]
        return " ".join(filter(None, [several if len(names) > 1 else one, _listed(names)]))

    @property
    def short(self) -> str:
        """What differs, without its values, as d of network nn4_cat1."""
        return " of ".join(filter(None, [self.setting, self.place])) + (
            " alone" if ONLY_HERE in (self.a, self.b) else ""
        )

    def line(self, names: Sequence[str]) -> str:
        """The difference in words, as network nn4_cat1: d (width of the bottleneck) 10 in 240118, 20 in wide."""
        sides = [
            (value, other, name) for value, other, name in zip((self.a, self.b), (self.b, self.a), names, strict=True)
        ]
        alone = [(value, name) for value, _, name in sides if value != ABSENT]
        among = f" ({_listed(self.places)})" if len(self.places) > _MOST else ""
        if ONLY_HERE in (self.a, self.b):
            return f"{self.place}{among} only in {alone[0][1]}"
        if self.a == SEVERAL:
            told = ["which are in differences.csv"]
        elif len(alone) == 1 or self.setting in _NAMES:
            told = [f"{_value(value)} only in {name}" for value, name in alone]
        else:
            told = [f"{_value(value, other)} in {name}" for value, other, name in sides]
        about = "" if self.setting in _NAMES else _help(self.kind, self.setting)
        setting = f"{self.setting} ({about})" if about else f"{self.setting}:"
        return " ".join([*([f"{self.place}{among}:"] if self.place else []), setting, ", ".join(told)])


def differences(table: pd.DataFrame) -> list[Difference]:
    """Return how the entries and the settings of two experiments differ, in the order in which they matter.

    `table` is that of `compare.Comparison`. Of the settings of searches and of the widths of vectors those are left out
    that follow from settings of outputs and networks. What differs alike in several places is told once.
    """
    found = [_of_row(*row) for row in table[["kind", "where", "a", "b"]].itertuples(index=False)]
    known = [one for one in dict.fromkeys(found) if one and one.setting.split(".")[0] not in _SHOWN]
    of = {kind: {one.setting for one in known if one.kind == kind} for kind in _KINDS}
    kept = [
        one
        for one in known
        if not (one.kind in ("quantised", "inferred", "synthesised") and one.setting in of["output"])
        and not (one.setting == "k" and "d" in of["networks"])
    ]
    alone = [one for one in kept if ONLY_HERE in (one.a, one.b)]
    if any(one.kind in _NAMED for one in alone):
        kept = [one for one in kept if one not in alone or one.kind in _NAMED]
    order = list(_KINDS)
    return sorted(_together(kept), key=lambda one: order.index(one.kind) if one.kind in order else len(order))


def _of_row(kind: str, where: str, a: str, b: str) -> Difference | None:
    """Return the difference of a row; None for one of code or versions."""
    if kind not in ("experiment", "settings"):
        return None
    place, _, setting = where.rpartition(": ") if ": " in where or kind == "experiment" else (where, "", "")
    what, _, name = place.partition(" ")
    whole, of_list, _ = (
        re.split(r"(\.\d+(?:\.|$))", setting, maxsplit=1) if re.search(r"\.\d+(\.|$)", setting) else (setting, "", "")
    )
    a, b = (SEVERAL, SEVERAL) if of_list else (a, b)
    return Difference(what or "experiment", (name.replace("of samples", ""),), whole, a, b)


def _together(found: Sequence[Difference]) -> list[Difference]:
    """Join what differs alike in several places; and a setting that differs in more ways than are written out."""
    alike: dict[tuple, list[Difference]] = defaultdict(list)
    for one in found:
        alike[one.kind, one.setting, one.a, one.b].append(one)
    joined = [replace(many[0], places=tuple(place for one in many for place in one.places)) for many in alike.values()]
    settings: dict[tuple, list[Difference]] = defaultdict(list)
    for one in joined:
        settings[one.kind, one.setting, ONLY_HERE in (one.a, one.b)].append(one)
    result = []
    for many in settings.values():
        if len(many) <= _MOST or ABSENT in {one.a for one in many} | {one.b for one in many}:
            result += many
            continue
        a, b = (_range({getattr(one, side) for one in many}) for side in "ab")
        places = sorted({place for one in many for place in one.places})
        result.append(replace(many[0], places=tuple(places), a=a, b=b))
    return result


def _range(texts: set[str]) -> str:
    """Return several values as one: numbers as 3 to 14, others one after the other."""
    numbers = sorted((text for text in texts if re.fullmatch(r"-?[0-9.]+(e-?[0-9]+)?", text)), key=float)
    others = sorted(texts - {*numbers})
    ends = [" to ".join(dict.fromkeys([numbers[0], numbers[-1]]))] if numbers else []
    return " or ".join([*ends, *others[:_MOST], *(["others"] if len(others) > _MOST else [])])


def _listed(names: Iterable[str]) -> str:
    """Return names as a text; of more than four the first three, and how many more there are."""
    names = list(names)
    if len(names) > _MOST + 1:
        return f"{', '.join(names[:_MOST])} and {len(names) - _MOST} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _value(text: str, other: str = "") -> str:
    """Return a value in words: paths by their folder, of a list what is new, no whole checksum."""
    text = re.sub(r"\b([0-9a-f]{10})[0-9a-f]{22,}\b", r"\1...", text)
    listed, _, more = text.partition(" and ") if re.search(r" and \d+ more$", text) else (text, "", "")
    items, others = listed.split(", "), other.split(", ")
    number = len(items) + int(more.split()[0] if more else 0)
    folders = {os.path.dirname(item) for item in items}
    if number > 1 and len(folders) == 1 and (folder := folders.pop()):
        return f"{number} files in {folder}/"
    if number > _MOST + 1:
        new = [item for item in items if item not in others]
        if not more and len(new) < number:
            text = f"{number} values" + (f", with {_listed(new)}," if new else "")
        else:
            text = f"{', '.join(items[:_MOST])} and {number - _MOST} more"
    return text if len(text) <= 90 else f"{text[:87]}..."


def _help(kind: str, setting: str) -> str:
    """Return what the configuration says of a setting, up to the first thing that matters to who sets it only."""
    name, blocks = setting.split(".")[0], _KINDS.get(kind, ("", "", ()))[2]
    helps = [block.helps()[name] for block in blocks if name in block.model_fields]
    helps += [one.help for one in getattr(_OF_COMMANDS.get(name), "__metadata__", ()) if isinstance(one, Setting)]
    text = next(iter(helps), "")
    return text if re.match(r"\w+: ", text) else re.split(r"; |, by default|\. ", text)[0]
