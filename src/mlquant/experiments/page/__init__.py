"""The page of an experiment: one HTML file to listen, look and compare in, made from the experiment's tables.

`page.html` is filled with the style sheet, the scripts, and the data that `data` gathers. Whatever comes from a
configuration or a file is data, never markup. The page needs no server and no network.
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

from mlquant.core import colours, provenance
from mlquant.core.disk import (
    atomic,
    file_sha256,
    link,
    new_folder,
    read_json,
    require,
    unreadable,
    write_json,
    write_text,
)
from mlquant.core.errors import InputError
from mlquant.core.page import upsampling
from mlquant.experiments.heard import shown
from mlquant.experiments.page.data import gather, read_rows
from mlquant.networks.types import HELD_OUT_BELOW

SCRIPTS = (
    "dom",
    "chart",
    "audio",
    "spectrum",
    "bottleneck",
    "viewer",
    "abx",
    "numbers",
    "in_set",
    "overview",
    "comparison",
    "main",
)
"""The scripts, each a file `<name>.js`, in the order in which they run: what one needs at its start comes before it."""
_HISTORY = ("time", "experiment", "key", "revision", "index", "tag")


def write(
    tables: Path, history: Path | None, out: Path, figures: Sequence[Path] = (), ratings: Sequence[Path] = ()
) -> None:
    """Make an experiment's folder: its tables, its wavs under their published names, loss curves and index.html.

    `tables` is a folder written by `mlquant tabulate`, `figures` holds the loss curves of its networks; both are
    linked, and so is what raters said: `ratings` holds the ratings.csv of listening tests. The wavs are copies with a
    text in each that says what it is. provenance.json lists every file of the
    folder. If `history` is given, the experiment's means are added to it first. The folder appears whole or not at all.
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
            # A folder of tables may hold its own wavs.
            if not (temporary / name).exists():
                provenance.write_labelled_wav(temporary / name, known, name)
        for figure in figures:
            link(figure, temporary / f"{figure.parent.name.rsplit('.', 1)[0]}_losses.png")
        for table in ratings:
            link(table, temporary / f"{table.parent.name}_ratings.csv")
        write_text(temporary / "index.html", render([("", tables)], history, ratings=ratings))
        known["folder"] = {path.name: file_sha256(path) for path in sorted(temporary.iterdir())}
        for name, wav in known["wavs"].items():
            wav["sha256"] = known["folder"][name]
        write_json(temporary / provenance.NAME, known)


def render(
    named: Sequence[tuple[str, Path]],
    history: Path | None = None,
    comparison: Mapping | None = None,
    ratings: Sequence[Path] = (),
) -> str:
    """Return the page of one folder of tables, or of several in one player; each comes with its label.

    With one folder the page does not show the label. The live bottleneck is that of the first folder. `comparison` is
    what the page says of two experiments first, as `compare.for_page` returns it; `ratings` are tables of what raters
    said of the first folder.
    """
    page, blob = gather(named)
    names = {experiment["name"] for experiment in page["experiments"]}
    networks = [network for experiment in page["experiments"] for network in experiment["networks"].values()]
    rows = read_rows(history) if history and history.exists() else []
    page["history"] = [row for row in rows if row["experiment"] in names]
    page["comparison"] = comparison
    first = page["experiments"][0]
    page["ratings"] = [shown(path, f"{first['name']}.{first['key']}") for path in ratings]
    templates = Environment(loader=PackageLoader("mlquant.experiments.page", "."), autoescape=True)

    def text(name: str) -> Markup:
        return Markup(templates.loader.get_source(templates, name)[0])

    return templates.get_template("page.html").render(
        title=page["title"],
        name=page["name"] if len(named) == 1 and page["title"] != page["name"] else "",
        colours={"light": colours.LIGHT, "dark": colours.DARK},
        held_out_below=HELD_OUT_BELOW if any(network["losses"] for network in networks) else "",
        style=text("style.css"),
        script=Markup("\n").join([Markup(upsampling()), *(text(f"{name}.js") for name in SCRIPTS)]),
        data=Markup(script_json(page)),
        blob=Markup(blob),
    )


def script_json(value: object) -> str:
    """Return JSON for a script element: nothing in it can end the element or start a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def append_history(history: Path, tables: Path) -> None:
    """Append an experiment's means over all samples to a CSV file, one row for each output.

    Nothing is appended when the last row of the experiment has the same key. The rows of a quick look say in a column
    quick_look what was lowered. Several processes may call this at once.
    A column that only the old rows, or only the new rows have, is empty in the others. Raises InputError for a file
    that is not such a history.
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
        if quick := provenance.quick_look(known["experiment"].get("lowered", {})):
            about["quick_look"] = quick
        rows += [about | mean for mean in means]
        columns = list(dict.fromkeys([*_HISTORY, *columns, *about, *(means[0] if means else ())]))
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with atomic(history) as temporary:
            temporary.write_text(buffer.getvalue(), encoding="utf-8")


def _text_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns and rows of a CSV file; every value stays text, so that no number changes."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restval="")
            columns, rows = list(reader.fieldnames or ()), list(reader)
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: not a table of mlquant ({error})") from None
    if long := next((i for i, row in enumerate(rows, 2) if None in row), None):
        raise InputError(f"{path}: row {long} has more than {len(columns)} values, expected one a column")
    return columns, rows
