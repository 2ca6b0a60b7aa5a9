"""Tables: read from CSV files with one-line refusals, and laid out for the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from mlquant.core.disk import unreadable
from mlquant.core.errors import InputError

if TYPE_CHECKING:  # pandas is slow to load, and the help of commands does without
    import pandas as pd

_TEXT = {"sample", "sex", "tag", "tag_b", "group", "variant", "label", "failed", "title", "source", "kind"}
_TEXT |= {"utterance", "speaker", "measure", "transcript", "codec", "codec_b"}
Column = tuple[str, Iterable, str]
"""A column of a table of the report: its heading, its values, and the format that they are written in."""


def read_table(path: str | Path, *columns: str, what: str = "a table of mlquant") -> pd.DataFrame:
    """Read a CSV file that has at least these columns.

    Columns that hold words are read as text, whatever stands in them: a sample called NA stays "NA", and a tag of
    digits stays as it is written. An empty cell is NaN. Raises InputError when the file cannot be read or lacks one
    of the columns; `what` says in the message what was expected.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, str), keep_default_na=False, na_values=[""])
        table[list(columns)]
    except OSError as error:
        raise unreadable(path, error) from None
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: not {what} ({str(error).strip()})") from None
    return table


def read_rows(path: Path, *columns: str) -> pd.DataFrame:
    """Read a CSV file as `read_table` does; one without rows raises InputError too."""
    table = read_table(path, *columns)
    if table.empty:
        raise InputError(f"{path}: has no rows, expected at least one")
    return table


def formatted(value: object, spec: str = "") -> str:
    """Return a value as the report writes it, in a format such as ".2f"; a missing value is an empty text.

    What rounds to zero has no minus sign.
    """
    import pandas as pd

    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str) or spec in ("", "s"):
        return str(value)
    return f"{value:{spec.replace('.', 'z.')}}"


def explained(columns: Iterable[str], about: Mapping[str, str]) -> str:
    """Return a line of Markdown for each column of a table: its name, and what `about` says of it.

    A name in `about` may be a pattern, as `element_*`: columns beside each other that match it share one line.
    """

    def entry(column: str) -> str:
        return column if column in about else next((one for one in about if fnmatchcase(column, one)), column)

    lines = []
    for name, group in groupby(columns, entry):
        first, *others = group
        names = f"`{first}`" + (f" to `{others[-1]}`" if others else "")
        lines.append(f"- {names}: {about[name]}" if name in about else f"- {names}")
    return "\n".join(lines)


def laid_out(caption: str, *columns: Column, source: str = "", marked: Iterable[bool] = ()) -> dict:
    """Return a table for the report; a column in which no row has a value is left out.

    `marked` says for each row whether its figures are the original's. `source` says where the original's figures are
    from; it is kept where such a row, or a column whose heading begins with "published", is left in the table.
    """
    cells = [(head, [formatted(value, spec) for value in values], spec == "s") for head, values, spec in columns]
    kept = [column for column in cells if any(column[1])]
    rows = [*zip(*(column for _, column, _ in kept), strict=True)]
    has_published = any(marked) or any(head.startswith("published") for head, *_ in kept)
    return {
        "caption": caption,
        "heads": [head for head, *_ in kept],
        "texts": [text for *_, text in kept],  # whether a column holds words, which are written flush left
        "rows": rows,
        "marked": [*marked] or [False] * len(rows),
        "source": source if has_published else "",
    }
