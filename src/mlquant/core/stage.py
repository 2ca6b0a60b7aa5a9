"""Stages: functions from files to files, each declared once.

The signature of such a function gives its command, the arguments in its rule, the check of the inputs and settings that
the plan gives it, and the settings in its key:

    @stage("quantised", l_hat="l_hat.f32", indices="indices.npy", example="l.f32 -k 10 -q vq1.f32 -o l_hat.f32")
    def vq_search(latents: Path, codebooks: Codebooks, *, k: Width, mbest: Survivors = 5, l_hat: Output) -> None:

Parameters before the asterisk are inputs. Those behind it are settings, except outputs, which the decorator names with
their files, and `Aside` ones, which change no result. This module imports neither numpy nor pydantic, so that a
command starts fast.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mlquant.core.errors import InputError


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET: Any = _Unset()


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a setting has besides its type, declared once for configuration, command, help and documentation.

    It stands in an annotation, as `Survivors = Annotated[int, Setting(help="survivors of the search", gt=0)]`. Bounds
    are checked by pydantic in blocks and by the command. `flag` is the option of the command, where it is not made
    from the name. A setting at its `neutral` value is left out of keys. With this value, which is declared once and
    never changed, all is done as before the setting existed. `block` tells the help which keys a JSON object has: it
    is "module:name" of a block, or of a function that returns several by their titles.
    """

    help: str = ""
    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    flag: str | None = None
    metavar: str | None = None
    neutral: Any = UNSET
    block: str | None = None

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds that are set, by their names in pydantic."""
        named = {"gt": self.gt, "ge": self.ge, "lt": self.lt, "le": self.le}
        return {name: bound for name, bound in named.items() if bound is not None}

    def refuse_outside(self, name: str, value: float) -> None:
        """Raise InputError for a number outside the bounds."""
        good = {
            "gt": lambda bound: value > bound,
            "ge": lambda bound: value >= bound,
            "lt": lambda bound: value < bound,
            "le": lambda bound: value <= bound,
        }
        if not math.isfinite(value) or not all(good[kind](bound) for kind, bound in self.bounds.items()):
            said = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
            bounds = " and ".join(f"{said[kind]} {bound:g}" for kind, bound in self.bounds.items())
            raise InputError(f"{name}: found {value:g}, expected a number {bounds}".rstrip())

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], dict]) -> dict:
        return {**handler(source), **self.bounds}

    def __get_pydantic_json_schema__(self, schema: dict, handler: Callable[[dict], dict]) -> dict:
        return handler(schema) | ({"description": self.help} if self.help else {})


_INT_MAX = 1 << 31  # larger bounds are those of the machine, and are left out


def range_in_words(
    kind: type, gt: float | None = None, ge: float | None = None, lt: float | None = None, le: float | None = None
) -> str:
    """Return which values a setting of a type may have within bounds, as "a whole number from 1"; "" for a path."""
    if kind not in (int, float):
        return {bool: "`true`, `false`", str: "text"}.get(kind, "")
    if kind is int and gt is not None:
        ge, gt = gt + 1, None
    if ge is not None and le is not None:
        bounds = [f"{ge:g} to {le:,}".replace(",", " ")]
    else:
        bounds = [f"from {ge:g}"] if ge is not None else [f"more than {gt:g}"] if gt is not None else []
        bounds += [f"up to {le:g}"] if le is not None else []
        bounds += [f"less than {lt:g}"] if lt is not None and lt < _INT_MAX else []
    return " ".join(filter(None, ["a whole number" if kind is int else "a number", " and ".join(bounds)]))


@dataclass(frozen=True, kw_only=True)
class File:
    """What an input or an output has besides its type: `help`, its option `flag`, `commas` between several values."""

    help: str = ""
    flag: str | None = None
    metavar: str | None = None
    commas: bool = False


@dataclass(frozen=True, kw_only=True)
class Aside(Setting):
    """A setting of a command that changes no result, and so is in no key."""


Json = dict
"""All settings of a stage in one object, given as JSON text or as the path of a JSON file."""
Root = Annotated[
    Path | None,
    Aside(
        help="folder that paths in records are relative to; by default the current one", flag="--root", metavar="DIR"
    ),
]
Record = Annotated[
    Json | None,
    Aside(help="JSON text or file: what else provenance.json records", flag="--record", metavar="JSON"),
]

Role = Literal["input", "setting", "output", "aside"]
Function = TypeVar("Function", bound=Callable)


@dataclass(frozen=True)
class Parameter:
    """A parameter of a stage's function; `kind` is the type of one value, `several` says whether it takes more."""

    name: str
    role: Role
    kind: type
    several: bool
    default: Any
    about: Setting | File
    keyword: bool

    @cached_property
    def flag(self) -> str | None:
        """The option that gives it; None for a positional argument."""
        if self.about.flag:
            return self.about.flag
        if not self.keyword and (self.default is UNSET or self.several):
            return None
        return f"--{self.name.replace('_', '-')}"

    @property
    def commas(self) -> bool:
        return isinstance(self.about, File) and self.about.commas

    def words(self, value: Any) -> list[str]:
        """Return the words of the command line for a value, or for several; none for None, an empty list and False."""
        if value is None or value is False or (self.several and not value):
            return []
        if value is True:
            return [str(self.flag)]
        values = [str(item) for item in value] if self.several else [str(value)]
        if self.commas:
            values = [",".join(values)]
        if self.flag is None:
            return values
        if self.role != "input" or len(values) == 1:  # a value may begin with a dash
            joined = [f"{self.flag}={item}" for item in values] if self.flag.startswith("--") else []
            return joined or [word for item in values for word in (self.flag, item)]
        return [self.flag, *values]


@dataclass(frozen=True)
class Stage:
    """A function from files to files, and what follows from its signature.

    `folder` is the kind of its results, which lie in results/<folder>/<name>.<key>/; None for results without a key.
    `outputs` are file names by parameter; a parameter that is a folder has several. `found` names inputs that the
    command finds through its settings, not through a parameter. `extra_files` names files that it writes besides its
    outputs.
    """

    function: Callable
    folder: str | None
    outputs: Mapping[str, str | tuple[str, ...]]
    example: str
    found: tuple[str, ...] = ()
    extra_files: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        return self.function.__name__.replace("_", "-")

    @property
    def entry(self) -> str:
        """The function as "module:function", the form that `keys` takes."""
        return f"{self.function.__module__}:{self.function.__name__}"

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        hints = get_type_hints(self.function, include_extras=True)
        signature = inspect.signature(self.function)
        return {name: self._parameter(found, hints[name]) for name, found in signature.parameters.items()}

    def _parameter(self, found: inspect.Parameter, hint: Any) -> Parameter:
        kind, several, about = _unwrapped(hint)
        default = UNSET if found.default is inspect.Parameter.empty else found.default
        role: Role = "input"
        keyword = found.kind is inspect.Parameter.KEYWORD_ONLY
        if isinstance(about, Aside):
            role = "aside"
        elif keyword:
            role = "output" if found.name in self.outputs else "aside" if kind is Path else "setting"
        elif kind is not Path:
            role = "setting"
        return Parameter(found.name, role, kind, several, default, about or Setting(), keyword)

    @cached_property
    def ordered(self) -> list[Parameter]:
        """The parameters as they stand on a command line: those without an option come first."""
        return sorted(self.parameters.values(), key=lambda one: one.flag is not None)

    @cached_property
    def inputs(self) -> dict[str, Parameter]:
        return {name: one for name, one in self.parameters.items() if one.role == "input"}

    @cached_property
    def settings(self) -> dict[str, Parameter]:
        return {name: one for name, one in self.parameters.items() if one.role == "setting"}

    @cached_property
    def whole(self) -> Parameter | None:
        """The parameter that takes all settings as one JSON text, or None."""
        return next((one for one in self.settings.values() if one.kind is dict), None)

    def filled(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings, with defaults for those left out; ValueError for a setting that is missing or unknown.

        Such a mistake is one of the plan, not of a configuration.
        """
        if self.whole:
            return dict(settings)
        unknown = [name for name in settings if name not in self.settings]
        missing = [name for name, one in self.settings.items() if one.default is UNSET and name not in settings]
        if unknown or missing:
            raise ValueError(f"{self.command}: settings {unknown} are unknown, {missing} are missing")
        return {name: settings.get(name, one.default) for name, one in self.settings.items()}

    @cached_property
    def neutral(self) -> dict[str, Any]:
        """The neutral values of the settings that have one."""
        named = {name: getattr(one.about, "neutral", UNSET) for name, one in self.settings.items()}
        return {name: value for name, value in named.items() if value is not UNSET}

    def check_inputs(self, given: Iterable[str]) -> None:
        """Raise ValueError for inputs that are missing or unknown, which is a mistake of the plan."""
        unknown = set(given) - {*self.inputs, *self.found}
        missing = {name for name, one in self.inputs.items() if one.default is UNSET} - set(given)
        if unknown or missing:
            raise ValueError(f"{self.command}: inputs {sorted(unknown)} are unknown, {sorted(missing)} are missing")

    def files(self) -> list[str]:
        """Return the names of all files that it writes."""
        named = [[names] if isinstance(names, str) else names for names in self.outputs.values()]
        return [*(name for names in named for name in names), *self.extra_files]

    def words(self, values: Mapping[str, Any]) -> list[str]:
        """Return the words of the command line that give values to its parameters; positional ones come first."""
        given = [(found, values.get(found.name)) for found in self.ordered]
        return [word for found, value in given if value != found.default for word in found.words(value)]


def stage(
    folder: str | None = None,
    *,
    example: str,
    found: tuple[str, ...] = (),
    extra_files: tuple[str, ...] = (),
    **outputs: str | tuple[str, ...],
) -> Callable[[Function], Function]:
    """Declare a function to be a stage: it stays as it is, and its attribute `stage` holds the `Stage`."""

    def declare(function: Function) -> Function:
        function.stage = Stage(function, folder, outputs, example, found, extra_files)  # type: ignore[attr-defined]
        return function

    return declare


def stage_of(function: Any) -> Stage:
    """The stage that a function was declared to be; AttributeError for a function without the decorator."""
    return function.stage


def _unwrapped(hint: Any) -> tuple[type, bool, Setting | File | None]:
    """Return the type of one value of an annotation, whether it takes several, and its Setting or File."""
    about, several = None, False
    while True:
        if get_origin(hint) is Annotated:
            hint, *extras = get_args(hint)
            about = next((one for one in extras if isinstance(one, Setting | File)), None) or about
        elif get_origin(hint) in (Union, types.UnionType):
            hint = next(one for one in get_args(hint) if one is not type(None))
        elif get_origin(hint) is list:
            (hint,), several = get_args(hint), True
        elif get_origin(hint) is dict or hint is dict:
            return dict, several, about
        else:
            return hint, several, about
