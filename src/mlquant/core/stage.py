"""What a stage is: a function from files to files, of which command, rule and plan know all by its signature.

This module imports neither numpy nor pydantic, so that a command starts fast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET: Any = _Unset()


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is to say of a setting beside its type, once for configuration, command, help and documentation.

    It stands in an annotation, as `Survivors = Annotated[int, Setting(help="survivors of the search", gt=0)]`. Bounds
    are checked by pydantic in blocks and by the command. `flag` is the option of the command, where it is not that of
    the name. A setting at its `neutral` value is left out of keys: the value, declared once and never changed, that
    stands for how things were before the setting existed.
    """

    help: str = ""
    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    flag: str | None = None
    metavar: str | None = None
    neutral: Any = UNSET

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds that are set, by their names in pydantic."""
        named = {"gt": self.gt, "ge": self.ge, "lt": self.lt, "le": self.le}
        return {name: bound for name, bound in named.items() if bound is not None}

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], dict]) -> dict:
        schema = handler(source)
        return {**schema, **self.bounds}

    def __get_pydantic_json_schema__(self, schema: dict, handler: Callable[[dict], dict]) -> dict:
        return handler(schema) | ({"description": self.help} if self.help else {})
