"""What raters said of an experiment: the table of `mlquant ratings`, as pages and the report show it."""

from __future__ import annotations

import csv
from pathlib import Path

from mlquant.core.disk import unreadable
from mlquant.core.errors import InputError

_NEEDED = ("test", "kind", "experiment", "stimulus", "index", "tag", "score", "low", "high", "raters", "answers")


def shown(path: Path, experiment: str) -> dict:
    """Return title, columns and rows of a ratings.csv, for the page of an experiment, which is given as NAME.KEY.

    The title names the variant that was heard, if it is another one. Raises InputError for any other file.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        number = {"mushra": "{:.0f}", "preference": "{:.2f}"}[rows[0]["kind"]].format
        table = [
            [_sound(row), number(float(row["score"])), _ends(row, number), row["raters"], row["answers"]]
            for row in rows
        ]
        heard, test = rows[0]["experiment"], rows[0]["test"]
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, LookupError, TypeError, csv.Error):
        raise InputError(f"{path}: not a ratings.csv of mlquant ratings, expected {', '.join(_NEEDED)}") from None
    score = "mean score, 0 to 100" if rows[0]["kind"] == "mushra" else "share of answers that prefer it"
    other = f", of the variant {heard}" if heard != experiment else ""
    columns = ["sound", score, "95 % interval over raters", "raters", "answers"]
    return {"title": f"Listening test {test}{other}", "columns": columns, "rows": table}


def _sound(row: dict) -> str:
    named = {"reference": "hidden reference", "anchor": f"low anchor, Codec 2 {row['tag']}"}
    return named.get(row["stimulus"]) or f"{row['index']} {row['tag']}"


def _ends(row: dict, number) -> str:
    return f"{number(float(row['low']))} to {number(float(row['high']))}" if row["low"] else ""
