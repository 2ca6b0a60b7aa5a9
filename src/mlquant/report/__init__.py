"""The write-up: one page of every experiment, study and sweep that has results.

Every number on the page is read from their tables, or from `published.json`, which holds the original's figures and
where each is from. `kinds` says what there is to show of each kind of result, `texts.html` words it, `report.html` is
the page. Figures are embedded, so that the page is one file.
"""

from __future__ import annotations

from pathlib import Path

import jinja2

from mlquant.core.disk import require, write_text
from mlquant.core.errors import InputError
from mlquant.report import kinds

_SECTIONS = {  # in the order of the original's paper: experiments by name, studies by kind
    "Dimension reduction": ["240104", "demo", "latents"],
    "Noise on the latents": ["noise"],
    "Vector quantiser against uniform quantiser": ["uniform_vq", "vq"],
    "Experiment 1": ["240118", "240118_seed"],
    "Autoencoders 2 and 3": ["240125A", "240121A", "240121B", "240125"],
    "Analog transmission": ["analog"],
    "Bit rate and quality": ["bits"],
    "Designs compared": ["sweep"],
    "Other experiments": ["experiment"],
}

_PLURALS = {"experiment": "experiments", "study": "studies", "sweep": "sweeps"}


def write(settings: dict, out: Path) -> None:
    """Write the report of `entries`, each with its kind, name, folder, settings and the networks it names, to `out`.

    `settings` holds those, and the settings of all `networks` and `quantisers` named. Raises InputError, one line that
    names the file, for a table that is missing or is not as mlquant writes it.
    """
    require(settings, "report", "entries", "networks", "quantisers")
    if not settings["entries"]:
        raise InputError("report: no entries, expected at least one experiment, study or sweep with results")
    for entry in settings["entries"]:
        require(entry, "report", "kind", "name", "folder", "settings", "networks")
        if entry["kind"] not in ("experiment", "study", "sweep"):
            raise InputError(f"report: kind {entry['kind']!r}, expected experiment, study or sweep")
    parts = [kinds.part_of(entry, settings, out.parent) for entry in settings["entries"]]
    sections = {title: [] for title in _SECTIONS}
    for part, entry in zip(parts, settings["entries"], strict=True):
        sections[_section(entry)].append(part)
    for title, places in _SECTIONS.items():
        sections[title].sort(key=lambda part, places=places: places.index(_place(part)))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["num"] = kinds.shown
    filled = {title: found for title, found in sections.items() if found}
    counts = {kind: sum(entry["kind"] == kind for entry in settings["entries"]) for kind in _PLURALS}
    made = [f"{count} {kind if count == 1 else _PLURALS[kind]}" for kind, count in counts.items() if count]
    try:
        page = environment.get_template("report.html").render(sections=filled, counts=made)
    except jinja2.UndefinedError as error:
        raise InputError(f"report: {error}, expected settings as of the plan") from None
    write_text(out, page)


def _section(entry: dict) -> str:
    """The title of the section that an entry belongs to."""
    return next(title for title, places in _SECTIONS.items() if _place(entry) in places)


def _place(entry: dict) -> str:
    """What an entry is listed under in the sections: the name of a published experiment, or its kind."""
    if entry["kind"] == "study":
        return entry["settings"]["kind"]
    named = {place for places in _SECTIONS.values() for place in places} - {*kinds.KINDS}
    return entry["name"] if entry["kind"] == "experiment" and entry["name"] in named else entry["kind"]
