"""A measure is said once, in its row of the table of measures; tables, page and comparisons read it there."""

import subprocess
import sys

import pandas as pd

from mlquant.core import keys
from mlquant.experiments import compare
from mlquant.experiments.page import data
from mlquant.measures import columns
from mlquant.measures.columns import COLUMNS, MEASURES, Column


def test_measures_of_speech_stand_against_each_reference_and_of_the_published_wav():
    names = ["pesq", "stoi", "estoi", "lsd_dB"]
    prefixes = ("", "original_", "ideal_y_", "published_", "published_ideal_y_")
    expected = [f"{prefix}{name}" for prefix in prefixes for name in names]
    assert [name for name in COLUMNS if name.endswith(tuple(names))] == expected
    assert len(COLUMNS) == len(MEASURES) + 4 * len(names)
    assert COLUMNS["original_pesq"].label == "original: PESQ"
    assert COLUMNS["published_pesq"].help.startswith(
        "of the published wav: narrow-band PESQ against the source speech, "
    )
    ideal = "log spectral distance to the synthesis of the true y with phase0 over active frames"
    assert COLUMNS["ideal_y_lsd_dB"].help == ideal
    assert COLUMNS["published_ideal_y_lsd_dB"].help == f"of the published wav: {ideal}"
    assert COLUMNS["published_ideal_y_lsd_dB"].label == "published, ideal y: LSD"


def test_only_the_measure_against_the_source_has_values_frame_by_frame():
    assert columns.FRAMES == ["voiced", "sd_dB2", "sd_b_dB2", "lsd_dB"]
    assert COLUMNS["lsd_dB"].per_frame and not COLUMNS["original_lsd_dB"].per_frame


def test_a_published_wav_is_neither_better_nor_worse():
    directions = {name: column.better for name, column in COLUMNS.items()}
    for prefix in ("published_", "published_ideal_y_"):
        assert {directions[f"{prefix}{name}"] for name in ("pesq", "stoi", "estoi", "lsd_dB")} == {None}
    assert directions["ideal_y_stoi"] == "higher" and directions["original_lsd_dB"] == "lower"
    assert directions["crest_mid_dB"] == "near 0" and directions["bit_per_s"] is None


def test_headings_have_the_unit_and_formats_the_decimals():
    assert COLUMNS["sd_dB2"].heading == "SD (dB²)" and COLUMNS["pesq"].heading == "PESQ"
    assert COLUMNS["stoi"].format == ".3f" and COLUMNS["frames"].format == ".0f"


def test_page_and_comparison_know_of_a_measure_what_its_row_says(monkeypatch):
    new = Column(name="buzz", label="buzz", unit="dB", help="how it buzzes", digits=4, better="lower", compared=True)
    monkeypatch.setitem(columns.COLUMNS, "buzz", new)
    rows = [{"index": 1, "tag": "x", "buzz": 1.0, "of_another_version": 2.0}]
    tables = type("Tables", (), {"means": rows, "measures": []})
    found = data._columns([tables])
    assert found["buzz"]["label"] == "buzz dB" and found["buzz"]["help"] == new.help and found["buzz"]["digits"] == 4
    assert found["of_another_version"]["label"] == "of_another_version"
    measured = [
        pd.DataFrame({"sample": list("abcd"), "index": 1, "tag": "x", "buzz": [1.0 + i + worse for i in range(4)]})
        for worse in (0, 1)
    ]
    frames = [pd.DataFrame(columns=["sample", "index", "tag", "frame"])] * 2
    differences = compare._differences(measured, frames, {(1, "x"): (1, "x")}, 1, [{}, {}])
    assert differences["measure"].tolist() == ["buzz"] and differences["verdict"].tolist() == ["worse"]


def test_the_words_of_measures_are_no_part_of_what_is_measured():
    for command in ("measures.stages:measure", "studies.stages:rate"):
        reached = keys.reached(f"mlquant.{command}")
        assert not {"measures.columns.MEASURES", "measures.columns.COLUMNS"} & {*reached}, command


def test_the_table_of_measures_needs_no_numpy():
    program = "import sys, mlquant.measures.columns; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"
