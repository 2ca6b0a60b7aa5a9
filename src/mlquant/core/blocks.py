"""Settings blocks that say what is wrong with them: one line that names the key and the nearest valid one."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from mlquant.core.errors import InputError, one_line

Positive = Annotated[int, Field(gt=0, lt=1 << 31)]
Factor = Annotated[float, Field(gt=0, le=2)]
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 100
_short.maxlevel = 2


class Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        for key in data if isinstance(data, dict) else ():
            if key not in cls.model_fields:
                raise refusal(f"unknown key {shown(key)}, {nearest(key, cls.model_fields)}")
            # Pydantic would read true as 1.
            if isinstance(data[key], bool) and cls.model_fields[key].annotation is not bool:
                raise refusal(f"{key}: found {data[key]}, expected no boolean")
        return data


def refusal(text: str) -> PydanticCustomError:
    """What a block's own check raises: the text is shown behind the block's place in the configuration."""
    return PydanticCustomError("name", "{text}", {"text": one_line(text)})


def nearest(word: str, known: Iterable) -> str:
    """What an error says of a word that is not among `known`: the nearest one that is."""
    near = difflib.get_close_matches(str(word)[:100], [str(name)[:100] for name in known], n=1, cutoff=0.0)
    return f"the nearest valid one is {near[0]!r}" if near else "there is none to name"


def shown(value: object) -> str:
    """A value as an error quotes it: of a long one, the beginning and the end."""
    try:
        text = _short.repr(value)
    except ValueError:  # an integer of thousands of digits
        return f"a {type(value).__name__}"
    return text if len(text) < 200 else f"{text[:120]}...{text[-60:]}"


def validate(model: type[Block], data: Any, where: str) -> Block:
    """The block that `data` stands for; raises InputError, one line that begins with `where`."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "name":
            text = first["msg"]
        elif first["type"] == "missing":
            text = "is missing, expected a value"
        else:
            text = f"found {shown(first['input'])}, expected: {first['msg'][0].lower() + first['msg'][1:]}"
        place = ".".join(str(part)[:100] for part in first["loc"][:8])
        raise InputError(": ".join([where, *filter(None, [place]), text])) from None
