"""The page of a listening test: one HTML file with all sounds, which needs no server and no network.

All sounds of a sample begin at the same moment of the source and have the same active level. The page holds them, and
what each of them is, as base64, so that nobody reads there by chance what is to be judged blind.
"""

from __future__ import annotations

import base64
import hashlib
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from scipy.signal import resample_poly

from mlquant.core import disk, records
from mlquant.core.blocks import validate
from mlquant.core.errors import InputError, log, markdown
from mlquant.core.page import upsampling
from mlquant.core.provenance import quick_look
from mlquant.core.tables import explained, read_table
from mlquant.listening.settings import Page

SCRIPTS = ("order", "player", "trials", "main")
"""The scripts, each a file `<name>.js`, in the order in which they run, after that of `core.page`."""
RATE = 8000  # Hz
LIMIT = 60_000_000  # bytes of all sounds; the page is a third larger
LEVEL_dB = -26.0  # active level, of full scale, as ITU-T P.800 has it for listening tests
PEAK_dB = -1.0  # of full scale; louder sounds lower the level of the whole test
_FRAME = 160  # samples in which activity is looked at: 20 ms
_ACTIVE_dB = 30.0  # a frame of the source is active if it is no more than this below the loudest one

STIMULI = {
    "sample": "name of the sample",
    "stimulus": "reference: the source, which is also hidden among the others; anchor: the low anchor; output: an "
    "output of the experiment",
    "index": "index of the output in its experiment",
    "tag": "tag of the output, or mode of the anchor",
    "seconds": "length",
    "delay_samples": "samples cut off at the start, by which it comes after the source",
    "gain_dB": "what was done to its level, in dB",
    "level_dB": "active level after that, in dB of full scale: the RMS in frames of 20 ms where the source speaks",
    "peak_dB": "highest value after that, between samples too, in dB of full scale",
    "from": "the file that it is made from",
}
"""What each column of stimuli.csv holds."""


def write(settings: dict, tables: Path, out: Path) -> None:
    """Make the folder of a listening test: index.html for raters, stimuli.csv and README.md for who holds the test.

    `tables` is a folder of an experiment, by `mlquant tabulate` or `mlquant page`; `settings` are those of
    `Plan.of_listening`. A sample that the experiment has left out is left out here. Raises InputError for settings that
    do not fit the experiment, and for more sound than a page can hold.
    """
    settings = validate(Page, settings, "settings").model_dump()
    known = disk.read_json(tables / "provenance.json")
    disk.require(known, f"{tables}/provenance.json", "experiment", "key", "samples")
    stimuli = [row for name in _samples(settings, known, tables) for row in _stimuli(name, settings, known, tables)]
    sounds = _levelled(stimuli)
    table = pd.DataFrame([{name: row[name] for name in STIMULI} for row in stimuli]).astype({"index": "Int64"})
    page, blob = _page(settings, known, stimuli, sounds)
    quick = quick_look(known["experiment"].get("lowered", {}))
    with disk.new_folder(out) as folder:
        disk.write_text(folder / "index.html", _render(page, blob))
        disk.write_text(folder / "stimuli.csv", table.to_csv(index=False, float_format="%.6g"))
        disk.write_text(folder / "README.md", _readme(page, settings["name"], table, quick))


def _samples(settings: dict, known: dict, tables: Path) -> list[str]:
    """Return the samples that the experiment has; the others are told."""
    there = [name for name in settings["samples"] if name in known["samples"]]
    if not there:
        raise InputError(f"{tables}: has none of the samples {', '.join(settings['samples'])}, expected one or more")
    for name in settings["samples"]:
        if name not in there:
            log(f"{name}: is left out, as the experiment has left it out")
    return there


def _stimuli(name: str, settings: dict, known: dict, tables: Path) -> list[dict]:
    """Return a row for the source of a sample, its anchor and each of its outputs, with their speech [N] from 0 s on.

    All have the same length. `delay_samples` is what was cut off.
    """
    sample = known["samples"][name]
    disk.require(sample, f"{tables}/provenance.json: {name}", "source", "rows")
    rows = [{"stimulus": "reference", "index": None, "tag": "", "from": sample["source"], "delay_samples": 0}]
    delays = _delays(tables, name)
    if mode := settings["anchor"]:
        path = settings["anchors"].get(name)
        if path is None:
            raise InputError(f"settings: anchors has no {name!r}, expected the path of its speech in mode {mode}")
        about = {"stimulus": "anchor", "index": None, "tag": mode, "from": path}
        rows.append(about | {"delay_samples": delays.get(("", mode), 0)})
    wanted = settings["outputs"] or sorted({index for pair in settings["pairs"] for index in pair})
    made = {row["index"]: row for row in sample["rows"]}
    for index in wanted or made:
        if index not in made:
            raise InputError(f"{tables}: has no output {index} of {name}, expected one of {', '.join(map(str, made))}")
        tag = made[index]["tag"]
        about = {"stimulus": "output", "index": index, "tag": tag, "from": made[index]["files"]["wav"]}
        rows.append(about | {"delay_samples": delays.get((str(index), tag), 0)})
    for row in rows:
        row |= {"sample": name, "speech": records.read_speech(row["from"], silent=True)[row["delay_samples"] :] / 32768}
    length = min(len(row["speech"]) for row in rows)
    if length < _FRAME:
        raise InputError(f"{tables}: {name} has {length} samples that all its outputs have, expected {_FRAME} or more")
    return [row | {"speech": row["speech"][:length], "seconds": length / RATE} for row in rows]


def _delays(tables: Path, sample: str) -> dict[tuple[str, str], int]:
    """Return by how many samples outputs come after the source, by index and tag; the index of anchors is ""."""
    found = {}
    for name in ("measures", "anchors"):
        table = read_table(tables / f"{name}.csv", "sample", "tag", "delay_samples", what="a table of an experiment")
        for row in table[table["sample"] == sample].itertuples():
            index = str(row.index) if name == "measures" else ""
            found[index, row.tag] = int(row.delay_samples)
    return found


def _levelled(stimuli: list[dict]) -> list[np.ndarray]:
    """Return the sounds as int16, all at one active level, and note gain, level and peak in their rows.

    The level is that of the source's active frames, so that a pause counts in none. It is `LEVEL_dB`, or lower, by as
    much as the one sound needs that would otherwise have a peak above `PEAK_dB`.
    """
    active = {}
    for row in stimuli:
        if row["stimulus"] == "reference":
            active[row["sample"]] = _active(row["speech"])
        frames = _frames(row["speech"])[active[row["sample"]]]
        row["rms"] = float(np.sqrt((frames**2).mean()))
        row["peak"] = float(np.abs(resample_poly(row["speech"], 6, 1)).max())
        if row["rms"] < 1e-4:
            raise InputError(f"{row['from']}: is silent where its source speaks, expected speech")
    target = min(10 ** (LEVEL_dB / 20), *(10 ** (PEAK_dB / 20) * row["rms"] / row["peak"] for row in stimuli))
    sounds = []
    for row in stimuli:
        gain = target / row["rms"]
        levels = {"gain_dB": gain, "level_dB": target, "peak_dB": gain * row["peak"]}
        row |= {name: float(20 * np.log10(value)) for name, value in levels.items()}
        sounds.append(np.rint(32768 * gain * row["speech"]).astype("<i2"))
    return sounds


def _frames(speech: np.ndarray) -> np.ndarray:
    """Return speech as frames [F, _FRAME], without the rest."""
    return speech[: len(speech) // _FRAME * _FRAME].reshape(-1, _FRAME)


def _active(speech: np.ndarray) -> np.ndarray:
    """Return which frames [F] of the source are active."""
    power = (_frames(speech) ** 2).mean(axis=1)
    return power >= power.max() * 10 ** (-_ACTIVE_dB / 10)


def _page(settings: dict, known: dict, stimuli: list[dict], sounds: list[np.ndarray]) -> tuple[dict, str]:
    """Return what the page holds besides sounds, and the sounds as base64, in the order of the stimuli.

    The name of the test ends in a key, so that answers to a page that was made otherwise are told from these.
    """
    experiment = f"{known['experiment']['name']}.{known['key']}"
    data = b"".join(sound.tobytes() for sound in sounds)
    if len(data) > LIMIT:
        raise InputError(f"{settings['name']}: has {len(data)} bytes of sound, expected up to {LIMIT}: fewer samples")
    samples: list[dict[str, Any]] = []
    for row, sound in zip(stimuli, sounds, strict=True):
        if not samples or samples[-1]["name"] != row["sample"]:
            samples.append({"name": row["sample"], "length": len(sound), "stimuli": []})
        samples[-1]["stimuli"].append({name: row[name] for name in ("stimulus", "index", "tag")})
    page = {name: settings[name] for name in ("kind", "title", "trials", "seed")}
    page |= {"experiment": experiment, "samples": samples}
    if settings["kind"] == "preference":
        indices = [one["index"] for one in samples[0]["stimuli"] if one["stimulus"] == "output"]
        page["pairs"] = settings["pairs"] or [list(pair) for pair in combinations(indices, 2)]
    key = hashlib.sha256(json.dumps(page, sort_keys=True).encode() + data).hexdigest()[:8]
    return page | {"test": f"{settings['name']}.{key}"}, base64.b64encode(data).decode("ascii")


def _render(page: dict, blob: str) -> str:
    templates = Environment(loader=PackageLoader("mlquant.listening.page", "."), autoescape=True)

    def text(name: str) -> Markup:
        return Markup(templates.loader.get_source(templates, name)[0])

    scripts = [Markup(upsampling()), *(text(f"{name}.js") for name in SCRIPTS)]
    return templates.get_template("page.html").render(
        title=page["title"],
        style=text("style.css"),
        script=Markup("\n").join(scripts),
        data=base64.b64encode(json.dumps(page).encode()).decode("ascii"),
        blob=blob,
    )


def _readme(page: dict, name: str, table: pd.DataFrame, quick: str) -> str:
    """Return what the folder is for, how to hold the test, and what the columns of stimuli.csv are, as Markdown."""
    number = len(page["samples"]) * len(page.get("pairs", [0]))
    trials = min(page["trials"] or number, number)
    asks = "a score from 0 to 100 for each sound" if page["kind"] == "mushra" else "which of two sounds is better"
    about = [
        f"# {markdown(name)}",
        *([f"**{markdown(quick)}**"] if quick else []),
        f"A listening test of experiment {page['experiment']}. It asks for {asks}, in {trials} of {number} trials a "
        f"rater. The name of the test is `{page['test']}`; answers to different tests are not put together.",
        "Send `index.html` to raters, by mail or on a stick: it holds all sounds, is opened by a double click, and "
        "needs no network. Each rater types a name or a code, which decides the order of trials and of sounds, and "
        "sends back the CSV file that the page saves. What the sounds are is in `stimuli.csv`: keep it to yourself. "
        "Then",
        f"    mlquant ratings *.csv -o results/ratings/{name}",
        "tells what the answers say, and the experiment's page and the report show it when they are made again.",
        f"All sounds have one active level, {-table['level_dB'].iloc[0]:.1f} dB below full scale, and their highest "
        f"peak is at {table['peak_dB'].max():.1f} dB.",
        "## Columns of stimuli.csv",
        explained(STIMULI, STIMULI),
    ]
    return "\n\n".join(about) + "\n"
