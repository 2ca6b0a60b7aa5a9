"""Blocks of settings, checked by pydantic. A refusal is one line that names the key and the nearest valid one."""

from __future__ import annotations

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
    StringConstraints,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from mlquant.core.errors import InputError, one_line
from mlquant.core.stage import Setting

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 100
_short.maxlevel = 2
_KIND = "\0"  # before the tags of a union: no key of a configuration holds it


class Block(BaseModel):
    """Settings that belong together. Each key has a type, a description, and a default where it may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False)
    renamed: ClassVar[dict[str, str]] = {}
    """Keys of older versions, each with its present name."""
    removed: ClassVar[dict[str, str]] = {}
    """Keys of older versions that no longer exist, each with a hint of what to write instead."""

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        for key in data if isinstance(data, dict) else ():
            if key in cls.model_fields:
                # Pydantic would read true as 1.
                if isinstance(data[key], bool) and cls.model_fields[key].annotation is not bool:
                    raise refusal(f"found {data[key]}, expected no boolean", key)
            elif key in cls.renamed:
                raise refusal(f"{key} is now called {cls.renamed[key]}")
            elif key in cls.removed:
                raise refusal(f"{key} is no longer a key: {cls.removed[key]}")
            else:
                raise refusal(f"unknown key {quoted(key)}, {nearest(key, cls.model_fields)}")
        return data


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
            raise refusal(f"found {quoted(data)}, expected: input should be a valid dictionary")
        kind, expected = chosen(data), f"expected one of {', '.join(map(repr, of_kind))}"
        if kind is None and "kind" not in data:
            raise refusal(f"is missing, {expected}", "kind")
        if not isinstance(kind, str) or kind not in of_kind:
            raise refusal(f"found {quoted(kind)}, {expected}", "kind")
        for key in data:
            others = [name for name, block in of_kind.items() if key in block.model_fields]
            if others and kind not in others:
                raise refusal(f"{key} goes with kind {' or '.join(others)} only, found kind {kind}")
        return data

    tagged = [Annotated[block, Tag(_KIND + kind)] for kind, block in of_kind.items()]
    union = reduce(or_, tagged) if len(tagged) > 1 else tagged[0]
    discriminated = Annotated[union, Discriminator(lambda data: _KIND + chosen(data))] if len(tagged) > 1 else union
    return Annotated[discriminated, BeforeValidator(checked)]


def refusal(text: str, key: str | None = None) -> PydanticCustomError:
    """Return the error that a block's own check raises; its text stands behind the block's place in the configuration.

    `key` is the key of the block that is wrong; with it the text stands behind the place of the key.
    """
    return PydanticCustomError("name", "{text}", {"text": one_line(text), "key": key})


def nearest(word: str, known: Iterable) -> str:
    """Return the words by which an error names the word among `known` that is nearest to an unknown one."""
    near = difflib.get_close_matches(str(word)[:100], [str(name)[:100] for name in known], n=1, cutoff=0.0)
    return f"the nearest valid one is {near[0]!r}" if near else "but there is none"


def quoted(value: object) -> str:
    """Return a value as an error quotes it; a long one is shortened to its beginning and end."""
    try:
        text = _short.repr(value)
    except ValueError:  # an integer of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) < 200 else f"{text[:120]}...{text[-60:]}"


def validate(model: Any, data: Any, where: str) -> Any:
    """Check data and return the block that they make; raise InputError, one line that begins with `where`.

    `model` is a type of blocks, or the union of several that `by_kind` makes.
    """
    try:
        return _adapter(model).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part)[:100] for part in first["loc"][:8] if not str(part).startswith(_KIND)]
        if first["type"] == "name":
            text, key = first["msg"], first["ctx"]["key"]
            place += [key] if key else []
        elif first["type"] == "missing":
            text = "is missing, expected a value"
        else:
            text = f"found {quoted(first['input'])}, expected: {first['msg'][0].lower() + first['msg'][1:]}"
        raise InputError(": ".join([where, *filter(None, [".".join(place)]), text])) from None


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
