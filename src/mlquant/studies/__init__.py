"""The studies: what noise on latents costs, what quantisers need, how latents look and travel, what bits buy.

A study is one file of this folder, and nothing else of the project names it. The file holds, from top to bottom:

    Settings                     the block of its entry in the configuration, with a `kind` of its own
    check(config, name, settings)       raises InputError when entries that the settings name do not fit the study
    networks(name, settings, add)       calls add(place, settings, ...) for each network that it has trained
    quantisers(name, settings, add)     calls add(place, settings) for each quantiser that it has trained
    chains(config, settings)             the chains of the configuration that it measures, for its record
    needs(graph, name, settings)         the shared.Summary: its settings with the paths of all files that it takes
    tables(settings)             its tables by name, each of which becomes a CSV file
    COLUMNS                      what each column of its tables holds, for its README.md
    speech(settings)             its speech by name, each of which becomes a wav
    figure(figure, folder)       draws the tables that lie in a folder
    report(folder, entry)        the facts and tables that the report shows of it
    TITLE, SECTION, PLACE        its title in the report, the section it belongs to, and a number to sort by
    WORDS                        its question, setup, findings and caption as Jinja texts, with `part` in them

`check`, `networks`, `quantisers`, `chains`, `speech` and `COLUMNS` may be missing. Snakemake imports every file of this
folder whenever it starts, therefore numpy, pandas, torch and matplotlib are imported inside the functions that compute
with them.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import get_args

from mlquant.core.errors import InputError
from mlquant.networks.types import HELD_OUT_BELOW


@cache
def kinds() -> dict[str, ModuleType]:
    """Return every kind of study with its module: those of this folder whose `Settings` have a `kind`."""
    found = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        module = importlib.import_module(f"{__name__}.{name}")
        if "kind" in getattr(getattr(module, "Settings", None), "model_fields", ()):
            found[get_args(module.Settings.model_fields["kind"].annotation)[0]] = module
    return found


def computed_by(kind: str) -> tuple[str, ...]:
    """Return the names of the functions whose code the tables, figures and speech of a kind of study depend on."""
    module = kinds()[kind]
    return tuple(f"{module.__name__}:{name}" for name in ("tables", "speech", "figure") if hasattr(module, name))


def reported_by(kind: str) -> tuple[str, ...]:
    """Return the names of the definitions that the report's part of a kind of study depends on."""
    return tuple(f"{kinds()[kind].__name__}:{name}" for name in ("report", "TITLE", "SECTION", "PLACE", "WORDS"))


def make(settings: dict, folder: Path) -> None:
    """Write the tables, the speech and the figures of a study into `folder`.

    The settings are those that `needs` of the study's file gives. Raises InputError for an unknown kind, and for
    settings or files that the study cannot use.
    """
    from mlquant.core import disk, records

    if (kind := settings["kind"]) not in kinds():
        raise InputError(f"kind: found {kind!r}, expected one of {', '.join(kinds())}")
    study = kinds()[kind]
    try:
        tables = study.tables(settings)
        for name, table in tables.items():
            disk.write_text(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))
        if hasattr(study, "speech"):
            for name, speech in study.speech(settings).items():
                records.write_speech(folder / f"{name}.wav", speech)
    except KeyError as error:
        raise InputError(f"settings: have no {error}, expected those of a study of kind {kind}") from None
    draw(kind, folder)
    disk.write_text(folder / "README.md", _readme(settings, {name: [*table] for name, table in tables.items()}))


def _readme(settings: dict, tables: dict[str, list[str]]) -> str:
    """Return what a study shows, and what each column of its tables holds, as Markdown."""
    from mlquant.core.errors import markdown
    from mlquant.core.provenance import quick_look
    from mlquant.core.tables import explained

    study = kinds()[settings["kind"]]
    quick = quick_look(settings.get("record", {}).get("lowered", {}))
    parts = [f"# {settings.get('name', settings['kind'])}", markdown(settings.get("title") or study.TITLE)]
    parts += [f"**{markdown(quick)}**"] if quick else []
    parts += [f"{study.Settings.__doc__} `settings.json` holds its settings.", f"![figure]({settings['kind']}.png)"]
    parts += [HELD_OUT_BELOW] if "losses" in tables else []
    if hasattr(study, "speech"):
        parts.append("Each wav is the speech that comes out; its name says how it was sent.")
    for name, columns in tables.items():
        parts += [f"## {name}.csv", explained(columns, getattr(study, "COLUMNS", {}))]
    return "\n\n".join(filter(None, parts)) + "\n"


def draw(kind: str, folder: Path) -> None:
    """Draw the tables of a study of this kind that lie in `folder`, as PNG and SVG of the kind's name beside them."""
    from mlquant.core import figures

    with figures.new_figure(6.5, 4, folder / f"{kind}.png", folder / f"{kind}.svg") as figure:
        kinds()[kind].figure(figure, folder)
