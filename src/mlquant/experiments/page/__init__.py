"""The page an experiment ends in: one HTML file to listen, look and compare in, from its tables.

`page.html` is filled with the style sheet, the scripts, and the data that `mlquant.page.data` gathers; whatever comes
from a configuration or a file is data, never markup. The page needs no server and no network.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from mlquant.core import provenance
from mlquant.core.disk import atomic, file_sha256, link, new_folder, read_json, require, write_json, write_text
from mlquant.core.errors import InputError
from mlquant.experiments.page.data import gather, read_rows

SCRIPTS = ("dom", "chart", "audio", "spectrum", "bottleneck", "viewer", "abx", "numbers", "main")
"""In the order of what uses what; each is a file `<name>.js`."""
_HISTORY = ("time", "experiment", "key", "revision", "index", "tag")


def write(tables: Path, history: Path | None, out: Path, figures: Sequence[Path] = ()) -> None:
    """Make an experiment's folder: its tables, its wavs under their published names, loss curves and index.html.

    `tables` is a folder written by `mlquant tabulate`, `figures` the loss curves of its networks; both are linked. The
    wavs are copies that tell what they are, and provenance.json lists every file of the folder. The experiment's
    means are noted in `history` first, if that is given. The folder appears whole or not at all.
    """
    known = read_json(tables / provenance.NAME)
    require(known, str(tables / provenance.NAME), "wavs", "experiment", "key")
    if history:
        append_history(history, tables)
    with new_folder(out) as temporary:
        for path in sorted(tables.iterdir()):
            if path.name != provenance.NAME:
                link(path, temporary / path.name)
        for name in known["wavs"]:
            # A tables folder may hold its wavs itself.
            if not (temporary / name).exists():
                provenance.write_labelled_wav(temporary / name, known, name)
        for figure in figures:
            link(figure, temporary / f"{figure.parent.name.rsplit('.', 1)[0]}_losses.png")
        write_text(temporary / "index.html", render([("", tables)], history))
        known["folder"] = {path.name: file_sha256(path) for path in sorted(temporary.iterdir())}
        for name, wav in known["wavs"].items():
            wav["sha256"] = known["folder"][name]
        write_json(temporary / provenance.NAME, known)


def render(
    named: Sequence[tuple[str, Path]], history: Path | None = None, extra: Mapping[str, Path] | None = None
) -> str:
    """The page of one tables folder, or of several in one player: pairs of a label and a folder.

    With one folder the label is not shown. The live bottleneck is the first folder's. `extra` are more tables to
    show, CSVs by title.
    """
    page, blob = gather(named)
    names = {experiment["name"] for experiment in page["experiments"]}
    rows = read_rows(history) if history and history.exists() else []
    page["history"] = [row for row in rows if row["experiment"] in names]
    page["extra"] = [{"title": title, **_columns_and_rows(path)} for title, path in (extra or {}).items()]
    templates = Environment(loader=PackageLoader("mlquant.experiments.page", "."), autoescape=True)

    def text(name: str) -> Markup:
        return Markup(templates.loader.get_source(templates, name)[0])

    return templates.get_template("page.html").render(
        title=page["title"],
        style=text("style.css"),
        script=Markup("\n").join(text(f"{name}.js") for name in SCRIPTS),
        data=Markup(script_json(page)),
        blob=Markup(blob),
    )


def script_json(value: object) -> str:
    """JSON that can stand in a script element: nothing in it can end the element or start a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def append_history(history: Path, tables: Path) -> None:
    """Append an experiment's means over all samples to a CSV, a row an output.

    Nothing is appended when the last row of the experiment has the same key. Several processes may call this at once;
    a column that is new in either is empty in the other's rows. Raises InputError for what is no history.
    """
    known = read_json(tables / provenance.NAME)
    require(known, str(tables / provenance.NAME), "experiment", "key", "versions")
    means = [row for row in _text_rows(tables / "means.csv")[1] if row.pop("group") == "all"]
    history.parent.mkdir(parents=True, exist_ok=True)
    with open(history.with_name(f".{history.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        columns, rows = _text_rows(history) if history.exists() else ([], [])
        if missing := [name for name in _HISTORY if columns and name not in columns]:
            raise InputError(f"{history}: has no column {missing[0]}, expected a history of mlquant page")
        name, key = known["experiment"]["name"], known["key"]
        if [row["key"] for row in rows if row["experiment"] == name][-1:] == [key]:
            return
        about = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "experiment": name,
            "key": key,
            "revision": known["versions"].get("revision") or "",
        }
        rows += [about | mean for mean in means]
        columns = list(dict.fromkeys([*_HISTORY, *columns, *(means[0] if means else ())]))
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with atomic(history) as temporary:
            temporary.write_text(buffer.getvalue(), encoding="utf-8")


def _columns_and_rows(path: Path) -> dict:
    columns, rows = _text_rows(path)
    return {"columns": columns, "rows": [[row[name] for name in columns] for row in rows]}


def _text_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a CSV, every value as it stands there; numbers are not to change on their way."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restval="")
            columns, rows = list(reader.fieldnames or ()), list(reader)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: not a table of mlquant ({error})") from None
    if long := next((i for i, row in enumerate(rows, 2) if None in row), None):
        raise InputError(f"{path}: row {long} has more than {len(columns)} values, expected one a column")
    return columns, rows
