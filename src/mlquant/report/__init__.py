"""The write-up: one page of every experiment, study and sweep that has results, as it was made.

Every number on the page is read from their tables, or is a figure that the original published; the settings are those
that their folders record. A folder that would be made otherwise now, or that is a quick look, is marked.

What there is to show and to say of a study or a sweep stands in its own file (see `mlquant.studies`), that of an
experiment in `experiment.py`; `published.py` says what of the original compares with it. `report.html` is the page.
Figures are embedded, so that the page is one file.
"""

from __future__ import annotations

import base64
import os
from itertools import groupby
from pathlib import Path
from types import ModuleType
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from mlquant import studies
from mlquant.core import colours, keys
from mlquant.core.disk import read_json, require, unreadable, write_text
from mlquant.core.errors import InputError, log
from mlquant.core.provenance import quick_look
from mlquant.core.tables import formatted, laid_out
from mlquant.networks.settings import NetworkSettings
from mlquant.report import experiment
from mlquant.report.published import PUBLISHED
from mlquant.studies import sweep

_PLURALS = {"experiment": "experiments", "study": "studies", "sweep": "sweeps"}


def write(settings: dict, out: Path) -> None:
    """Write the report of `folders` to `out`.

    Of each, `settings` holds the path as its `folder`, the `key` that it would have if it were made now (None if the
    configuration does not have it), a file of the user's that is `newer` than it (or None), and the `time` it was made.
    A folder that does not record how it was made is left out, which is logged. Raises InputError, one line that names
    the file, for a table that is missing or is not as mlquant writes it.
    """
    require(settings, "report", "folders")
    entries = []
    for one in settings["folders"]:
        require(one, "report", "folder", "key", "newer", "time")
        if record := _record(Path(one["folder"])):
            entries.append({**record, "folder": one["folder"], "time": one["time"], "stale": _stale(record, one)})
    if not entries:
        raise InputError("report: no folder to show, expected one of an experiment, study or sweep with results")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["num"] = formatted
    environment.globals |= {"light": colours.LIGHT, "dark": colours.DARK}
    words = environment.get_template("words.html").module
    environment.globals |= {name: getattr(words, name) for name in ("listed", "network", "quantiser", "table")}
    counts = {kind: sum(entry["kind"] == kind for entry in entries) for kind in _PLURALS}
    made = [f"{count} {kind if count == 1 else _PLURALS[kind]}" for kind, count in counts.items() if count]
    parts = sorted((_part(entry, out.parent) for entry in entries), key=lambda part: part["place"])
    try:
        for part in parts:
            texts = {name: environment.from_string(text.strip()) for name, text in part["module"].WORDS.items()}
            part["words"] = {name: Markup(text.render(part=part)) for name, text in texts.items()}
        sections = [(title, [*those]) for title, those in groupby(parts, key=lambda part: part["section"])]
        page = environment.get_template("report.html").render(
            sections=sections,
            counts=made,
            quick=[part for part in parts if part["quick_look"]],
            stale=[part for part in parts if part["stale"]],
        )
    except jinja2.UndefinedError as error:
        raise InputError(f"report: {error}, expected settings as the plan gives them") from None
    write_text(out, page)


def _record(folder: Path) -> dict:
    """Return how a folder of results was made: its kind, name and key, its settings, and those of what it uses.

    These are its `networks` and `quantisers`; `lowered` is what upper limits lowered. {} for a folder without a record.
    """
    if (folder / "settings.json").exists():
        record = read_json(folder / "settings.json")
    elif (folder / "provenance.json").exists():
        record = experiment.record(folder)
    else:
        log(f"{folder}: left out, as it does not record how it was made; remove it and make it again to have it here")
        return {}
    needed = ("kind", "name", "key", "settings", "networks", "quantisers", "lowered")
    require(record, f"the record of {folder}", *needed)
    if record["kind"] not in _PLURALS:
        raise InputError(f"{folder}: kind {record['kind']!r}, expected experiment, study or sweep")
    return record


def _stale(record: dict, now: dict) -> str:
    """Return why a folder is not what would be made now, as a sentence; "" if it is."""
    if now["key"] is None:
        return f"The configuration of this report has no {record['kind']} of this name."
    if now["key"] != record["key"]:
        return "It was made with other settings, or by other code, than there are now."
    return f"{now['newer']} is newer than it." if now["newer"] else ""


def _part(entry: dict, base: Path) -> dict:
    """Return what the page says of an experiment, study or sweep; links are relative to the folder `base`.

    Parts are sorted by their `place`, a number; those that follow each other and have one `section` share it.
    """
    folder, module = Path(entry["folder"]), _module(entry)
    networks = {name: keys.neutral_of(NetworkSettings) | one for name, one in entry["networks"].items()}
    section, place = module.SECTION, module.PLACE
    if entry["kind"] == "experiment":
        section, place = experiment.SECTIONS.get(entry["name"], (section, place))
    facts, tables = module.report(folder, entry)
    return {
        **entry,
        "module": module,
        "section": section,
        "place": place,
        "title": entry["settings"].get("title") or module.TITLE or entry["name"],
        "anchor": f"{entry['kind']}-{entry['name']}",
        "network_table": _networks(networks) if networks else None,  # a sweep has its own in its table
        "used": networks,
        "quantised": entry["quantisers"],
        "quick_look": quick_look(entry["lowered"]),
        "facts": facts,
        "tables": [one for one in tables if one["rows"]],
        "figures": [{"name": path.stem, "uri": _data_uri(path)} for path in _figures(folder, entry)],
        "link": quote(os.path.relpath(folder, base)),
    }


def _module(entry: dict) -> ModuleType:
    """Return the module that says what there is to show of an entry; InputError for an unknown kind of study."""
    if entry["kind"] != "study":
        return experiment if entry["kind"] == "experiment" else sweep
    kinds, kind = studies.kinds(), entry["settings"].get("kind")
    if kind not in kinds:
        raise InputError(f"{entry['folder']}: kind {kind!r}, expected one of {', '.join(kinds)}")
    return kinds[kind]


def _data_uri(path: Path) -> str:
    """Return a figure as a text that an <img> shows.

    No script in an SVG runs there, and nothing is loaded from elsewhere.
    """
    mime = {".svg": "image/svg+xml", ".png": "image/png"}[path.suffix]
    try:
        return f"data:{mime};base64,{base64.b64encode(path.read_bytes()).decode()}"
    except OSError as error:
        raise unreadable(path, error) from None


def _figures(folder: Path, entry: dict) -> list[Path]:
    """Return the figures of an entry."""
    if entry["kind"] == "experiment":
        return sorted(folder.glob("*_losses.png"))
    return [folder / f"{'losses' if entry['kind'] == 'sweep' else entry['settings']['kind']}.svg"]


def _networks(networks: dict) -> dict:
    """Return a table of the settings of networks; below each are those of the original where they are known."""
    published = PUBLISHED["networks"]
    rows, marked = [], []
    for name, settings in networks.items():
        rows.append({**settings, "name": name, "design": f"{settings['family']} {settings['nn']}"})
        marked.append(False)
        if name in published["settings"]:
            rows.append({**published["settings"][name], "name": "published"})
            marked.append(True)
    columns = [(head, [row.get(key) for row in rows], spec) for head, key, spec in _NETWORK_COLUMNS]
    columns.insert(5, ("loss", [_loss(row) for row in rows], "s"))
    return laid_out("Networks", *columns, source=published["source"], marked=marked)


_NETWORK_COLUMNS = (
    *(("network", "name", "s"), ("design", "design", "s"), ("d", "d", "d"), ("frames", "ncat", "d")),
    *(("noise", "noise_var", "g"), ("optimiser", "optimiser", "s"), ("rate", "lr", "g"), ("batch", "batch", "d")),
    *(("epochs", "epochs", "d"), ("corpus", "corpus", "s")),
)


def _loss(settings: dict) -> str | None:
    """Return the loss in words, with gamma where the loss has it."""
    if settings.get("loss") == "wloss" and "gamma" in settings:
        return f"wloss {settings['gamma']:g}"
    return settings.get("loss")
