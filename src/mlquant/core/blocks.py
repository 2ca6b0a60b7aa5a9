"""Blocks of settings, checked by pydantic. A refusal is one line that names the key and the nearest valid one."""

from __future__ import annotations

import contextlib
import difflib
import re
import reprlib
from collections.abc import Iterable
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, ClassVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    ModelWrapValidatorHandler,
    StringConstraints,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from mlquant.core.errors import InputErrors, one_line
from mlquant.core.stage import Setting

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 100
_short.maxlevel = 2
UNTOLD = "\0"  # before the tags of a union, which places of faults leave out: no key of a configuration holds it


class Block(BaseModel):
    """Settings that belong together. Each key has a type, a description, and a default where it may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False)
    renamed: ClassVar[dict[str, str]] = {}
    """Keys of older versions, each with its present name."""
    removed: ClassVar[dict[str, str]] = {}
    """Keys of older versions that no longer exist, each with a hint of what to write instead."""

    @classmethod
    def helps(cls) -> dict[str, str]:
        """The help text of each setting, by its name."""
        about = {
            name: [one.help for one in field.metadata if isinstance(one, Setting)]
            for name, field in cls.model_fields.items()
        }
        return {name: next(filter(None, reversed(texts)), "") for name, texts in about.items()}

    @model_validator(mode="wrap")
    @classmethod
    def _known_keys(cls, data: Any, handler: ModelWrapValidatorHandler) -> Any:
        if not isinstance(data, dict) or not (faults := cls._faults_of_keys(data)):
            return handler(data)
        found = [InitErrorDetails(type=fault, input=data) for fault in faults.values()]
        others = {key: value for key, value in data.items() if key not in faults}
        meant = {nearest_of(key, cls.model_fields) for key in faults}
        try:
            handler(others)
        except ValidationError as error:
            for one in error.errors():
                of_typing = one["type"] == "missing" and one["loc"] in [(key,) for key in meant]
                if not of_typing and one["type"] not in _FOLLOWS:
                    place, text = _fault(one)
                    found.append(InitErrorDetails(type=refusal(text), loc=place, input=one["input"]))
        raise ValidationError.from_exception_data(cls.__name__, found)

    @classmethod
    def _faults_of_keys(cls, data: dict) -> dict[Any, PydanticCustomError]:
        """The faults of keys, by key."""
        faults = {}
        for key in data:
            if key in cls.model_fields:
                # Pydantic would read true as 1.
                if isinstance(data[key], bool) and cls.model_fields[key].annotation is not bool:
                    faults[key] = refusal(f"found {data[key]}, expected no boolean", key)
            elif key in cls.renamed:
                faults[key] = refusal(f"{key} is now called {cls.renamed[key]}")
            elif key in cls.removed:
                faults[key] = refusal(f"{key} is no longer a key: {cls.removed[key]}")
            else:
                faults[key] = refusal(f"unknown key {quoted(key)}, {nearest(key, cls.model_fields)}")
        return faults


def by_kind(*blocks: type[Block], default: str | None = None) -> Any:
    """Return the type of a block that is one of `blocks`, chosen by its key `kind`; each block has one literal `kind`.

    A block without the key is of the kind `default`; where that is None, the key is required.
    """
    of_kind = {get_args(block.model_fields["kind"].annotation)[0]: block for block in blocks}

    def chosen(data: Any) -> Any:
        return getattr(data, "kind", None) if isinstance(data, Block) else data.get("kind", default)

    def checked(data: Any) -> Any:
        if isinstance(data, Block):
            return data
        if not isinstance(data, dict):
            raise refusal(f"{_found(data)}, expected settings")
        kind, expected = chosen(data), f"expected one of {', '.join(map(repr, of_kind))}"
        if kind is None and "kind" not in data:
            raise refusal(f"is missing, {expected}", "kind")
        if not isinstance(kind, str) or kind not in of_kind:
            raise refusal(f"{_found(kind)}, {expected}", "kind")
        for key in data:
            others = [name for name, block in of_kind.items() if key in block.model_fields]
            if others and kind not in others:
                found = f"kind {kind}" if "kind" in data else f"no kind, which stands for {kind}"
                raise refusal(f"{key} goes with kind {' or '.join(others)} only, found {found}")
        return data

    tagged = [Annotated[block, Tag(UNTOLD + kind)] for kind, block in of_kind.items()]
    union = reduce(or_, tagged) if len(tagged) > 1 else tagged[0]
    discriminated = Annotated[union, Discriminator(lambda data: UNTOLD + chosen(data))] if len(tagged) > 1 else union
    return Annotated[discriminated, BeforeValidator(checked)]


def number(value: Any) -> Any:
    """Return the number that a text stands for, as all values of --config are texts; anything else as it is."""
    for kind in (int, float) if isinstance(value, str) else ():
        with contextlib.suppress(ValueError):
            return kind(value)
    return value


def refusal(text: str, key: str | None = None) -> PydanticCustomError:
    """Return the error that a block's own check raises; its text stands behind the block's place in the configuration.

    `key` is the key of the block that is wrong; with it the text stands behind the place of the key.
    """
    return PydanticCustomError("name", "{text}", {"text": one_line(text), "key": key})


def nearest(word: str, known: Iterable) -> str:
    """Return the words by which an error names the word among `known` that is nearest to an unknown one."""
    near = nearest_of(word, known)
    return f"the nearest valid one is {near!r}" if near else "but there is none"


def nearest_of(word: object, known: Iterable) -> str | None:
    """Return the word among `known` that is nearest to another; None where there is none."""
    names = [str(name)[:100] for name in known]
    return next(iter(difflib.get_close_matches(str(word)[:100], names, n=1, cutoff=0.0)), None)


def quoted(value: object) -> str:
    """Return a value as an error quotes it; a long one is shortened to its beginning and end."""
    try:
        text = _short.repr(value)
    except ValueError:  # an integer of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) < 200 else f"{text[:120]}...{text[-60:]}"


def validate(model: Any, data: Any, where: str) -> Any:
    """Check data and return the block that they make; raise InputError, whose lines begin with `where`.

    `model` is a type of blocks, or the union of several that `by_kind` makes.
    """
    block, faults = checked(model, data)
    if faults:
        raise InputErrors([": ".join(filter(None, [where, told(place, text)])) for place, text in faults])
    return block


def checked(model: Any, data: Any) -> tuple[Any, list[tuple[tuple, str]]]:
    """Return the block that data make, and no faults; or None, and the place and the text of each fault."""
    try:
        return _adapter(model).validate_python(data), []
    except ValidationError as error:
        return None, [_fault(one) for one in error.errors() if one["type"] not in _FOLLOWS]


def told(place: tuple, text: str) -> str:
    """Return the line of a fault at a place, which is given by its keys."""
    return ": ".join(filter(None, [".".join(str(part)[:100] for part in place[:8]), text]))


_FOLLOWS = ("default_factory_not_called",)
"""Errors of pydantic that follow from others of the same block."""


def _fault(error: Any) -> tuple[tuple, str]:
    """Return the place and the text of an error of pydantic."""
    place = tuple(part for part in error["loc"] if part != "[key]" and not str(part).startswith(UNTOLD))
    if error["type"] == "name" and error["ctx"]["key"]:
        place += (error["ctx"]["key"],)
    return place, _text_of(error)


_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "dict": "settings",
    "model": "settings",
}
"""What is expected, by the first words of the type of an error of pydantic."""
_BOUNDS = {"greater_than": "more than", "greater_than_equal": "at least", "less_than": "less than"}
_BOUNDS |= {"less_than_equal": "at most"}


def _text_of(error: Any) -> str:
    """Return the text of an error of pydantic: what was found, and what was expected."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "name":
        return context["text"]
    if kind == "missing":
        return "is missing, expected a value"
    if kind in _BOUNDS:
        expected = f"{_BOUNDS[kind]} {next(iter(context.values())):.10g}"
    elif kind == "too_short":
        expected = f"{context['min_length']} or more"
    elif kind == "too_long":
        expected = f"at most {context['max_length']}"
    elif kind == "literal_error":
        expected = context["expected"]
    elif kind == "string_pattern_mismatch":
        expected = f"text that matches {context['pattern']}"
    elif kind == "string_too_long":
        expected = f"at most {context['max_length']} characters"
    else:
        known = kind if kind in _EXPECTED else kind.partition("_")[0]
        expected = _EXPECTED.get(known) or error["msg"][0].lower() + error["msg"][1:]
    found = f"found the key {quoted(error['input'])}" if error["loc"][-1:] == ("[key]",) else _found(error["input"])
    return f"{found}, expected {expected}"


def _found(value: object) -> str:
    """Return what a fault says of the value that was found."""
    return "is empty" if value is None else f"found {quoted(value)}"


_adapter = cache(TypeAdapter)


# texts


CONTROL = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
"""Control characters, and the surrogates by which Python marks bytes that are not UTF-8."""


def _text(value: str) -> str:
    """Return text unchanged; refuse control characters."""
    if re.search(CONTROL, value):
        raise refusal(f"found {quoted(value)}, expected no control characters")
    return value


def _line(value: str) -> str:
    """Return text as one line, as titles stand in tables; refuse control characters."""
    return _text(" ".join(value.split()))


def _path(value: str) -> str:
    """Return a path; refuse one that cannot be an input of a rule and an argument of a command."""
    if value.startswith("-"):
        raise refusal(f"found {quoted(value)}, expected no dash in front, which commands take for an option")
    if problem := unfit(value):
        raise refusal(f"found {quoted(value)}, {problem}")
    return value


def unfit(path: str) -> str | None:
    """Return why a path cannot be an input of a rule, or None; spaces, quotes and dollars are allowed."""
    if re.search(CONTROL, path):
        return "expected no control characters, and UTF-8"
    if re.search("[{}]", path):
        return "expected no braces, which Snakemake takes for a wildcard"
    if not path.strip() or max(len(part.encode()) for part in path.split("/")) > 255:
        return "expected a path, each part of it up to 255 bytes"
    return None


Positive = Annotated[int, Setting(gt=0, lt=1 << 31)]
# The name of a file, which may have 255 bytes, holds up to three of these names.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
Text = Annotated[str, AfterValidator(_text)]
Line = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_line)]
FilePath = Annotated[str, AfterValidator(_path)]
