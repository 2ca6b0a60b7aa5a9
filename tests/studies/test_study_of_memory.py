"""The study of memory: sizes and work of codecs, and what 8 bits cost, as they are put in."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import studied_set
from support.codecs import small_codec
from support.commands import succeeds
from support.readmes import unexplained
from support.studied_set import NAMES

from mlquant.codecs import files, trials
from mlquant.core import disk
from mlquant.core.errors import InputError
from mlquant.plan import config
from mlquant.plan.plan import Plan
from mlquant.studies import memory
from mlquant.studies.memory import FLOAT, ROUNDED, TRAINED

ROOT = Path(__file__).resolve().parents[2]
PESQ = {("large", FLOAT): 3.0, ("large", ROUNDED): 2.6, ("large_8", TRAINED): 2.9, ("Codec 2 1300", ""): 2.2}


@pytest.fixture
def made(tmp_path):
    """A folder with two codecs and their measures, and the settings of the study of them."""
    for name, eight_bit in (("large", False), ("large_8", True)):
        files.write(tmp_path / name, small_codec(eight_bit=eight_bit), {"name": name})
    studied_set.write(tmp_path)
    rows, rng = [], np.random.default_rng(1)
    for i, ((name, stored), pesq) in enumerate(PESQ.items()):
        scores = {"pesq": pesq + rng.normal(0, 0.01, len(NAMES)), "estoi": 0.7}
        files_made = studied_set.write_measures(tmp_path, i, scores)
        row = {"codec": name, "tables": stored, "than": "large" if stored in (ROUNDED, TRAINED) else None}
        rows.append(row | ({"folder": f"{name}/codec.json"} if stored else {}) | {"files": files_made})
    return tmp_path, {"kind": "memory", "name": "m", "conditions": rows, **studied_set.ASKED}


def test_sizes_and_work_are_those_of_the_tables(made):
    folder, settings = made
    with disk.working_in(folder):
        table = memory.tables(settings)["sizes"].set_index(["codec", "tables", "measure"])
    # Of the small codec: predictors of 4 x 4 and 80 x 80; networks of 22, 8 and 81, and of 277, 16 and 316.
    matrices = 16 + 6400 + 22 * 8 + 8 * 81 + 277 * 16 + 16 * 316
    books, vectors = 16 * 4 + 40 * 80, 4 + 80 + 8 + 81 + 16 + 316
    scales = 4 + 80 + 8 + 81 + 16 + 316 + 4 + 2 * 80
    assert (table["million_per_s"].dropna() * 1e6).round().unique().tolist() == [matrices * 25]
    sizes = {stored: table.loc[(name, stored, "pesq"), "kB"] for name, stored in PESQ}
    assert sizes[FLOAT] == pytest.approx(4e-3 * (matrices + books + vectors))
    assert sizes[ROUNDED] == sizes[TRAINED] == pytest.approx(1e-3 * (matrices + books + 4 * (vectors + scales)))
    stored = (folder / "large_8/tables.safetensors").stat().st_size / 1000
    assert sizes[TRAINED] < stored < 1.1 * sizes[TRAINED] + 2
    assert np.isnan(sizes[""]) and table.loc[("large", FLOAT, "pesq"), "bit_per_s"] == 550


def test_what_8_bits_cost_is_the_difference_from_32(made):
    folder, settings = made
    with disk.working_in(folder):
        table = memory.tables(settings)["rounding"].set_index(["codec", "tables", "measure"])
    for stored, difference, verdict in ((ROUNDED, -0.4, "worse"), (TRAINED, -0.1, "worse")):
        row = table.loc[("large", stored, "pesq")]
        assert row["difference"] == pytest.approx(difference, abs=0.01) and row["verdict"] == verdict
        assert table.loc[("large", stored, "estoi"), "verdict"] == "cannot tell"
    assert len(table) == 4


def test_the_folder_explains_every_column_and_the_report_tells_what_it_found(made):
    folder, settings = made
    entry = {"kind": "memory", "codecs": ["large", "large_8"], "modes": ["1300"], "test_set": "mine"}
    record = {"kind": "study", "name": "m", "key": "0123abcd", "settings": entry}
    record |= {"networks": {}, "quantisers": {}, "lowered": {}}
    succeeds("study", json.dumps(settings | {"record": record}), "-o", "made", cwd=folder)
    tables = {path.stem: pd.read_csv(path) for path in (folder / "made").glob("*.csv")}
    assert unexplained((folder / "made/README.md").read_text(encoding="utf-8"), tables) == []
    assert all((folder / f"made/memory.{kind}").stat().st_size > 10000 for kind in ("png", "svg"))
    folders = [{"folder": "made", "key": "0123abcd", "newer": None, "time": None}]
    succeeds("report", json.dumps({"folders": folders}), "-o", "report.html", cwd=folder)
    page = " ".join((folder / "report.html").read_text(encoding="utf-8").split())
    for words in (
        "large and large_8 and the modes 1300 of Codec 2, on the 48 utterances",
        "large, rounded to 8 bits: PESQ -0.4",
        "large_8, trained for 8 bits, has a PESQ of 2.90 with",
    ):
        assert words in page.replace("\N{MINUS SIGN}", "-"), words


def test_rounded_tables_are_those_of_8_bits(tmp_path):
    codec = small_codec()
    once = trials.rounded(codec)
    assert not np.array_equal(once.shape.codebooks[0], codec.shape.codebooks[0])
    files.write(tmp_path / "small", replace(once, eight_bit=True), {"name": "small"})
    again, _ = files.read(tmp_path / "small")
    for one, other in zip(once.matrices, again.matrices, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_codec_with_a_twin_of_8_bits_is_rounded_too():
    whole = Plan(config.load(config.read(ROOT)))
    rows = whole.studies["memory"].settings["conditions"]
    told = {(row["codec"], row["tables"]): row["than"] for row in rows}
    assert told["codec1200_220kB", ROUNDED] == told["codec1200_small", TRAINED] == "codec1200_220kB"
    assert told["codec1200_2000kB", FLOAT] is None and ("codec1200", ROUNDED) not in told
    rounded = next(row for row in rows if row["tables"] == ROUNDED)
    coding = whole.graph[rounded["files"][0].rpartition("/")[0]].settings
    path = whole.graph.codec(rounded["codec"]).file("codec.json")
    assert coding == {"process": "codec", "codec": path, "rounded": True}
    assert path in whole.studies["memory"].files and {row["codec"] for row in rows if not row["tables"]} == {
        f"Codec 2 {mode}" for mode in whole.config.studies["memory"].modes
    }


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"codecs": ["codec1200", "codec120"]}, "studies.memory.codecs.1: 'codec120' names no codec"),
        ({"codecs": ["codec1200", "codec1200"]}, "studies.memory.codecs: found codec1200, codec1200"),
        ({"codecs": []}, "studies.memory.codecs"),
    ],
)
def test_a_study_of_what_is_not_there_is_one_line(changes, says):
    raw = config.read(ROOT)
    entry = {"kind": "memory", "codecs": ["codec1200"], "test_set": "unseen"} | changes
    with pytest.raises(InputError) as error:
        config.load(raw | {"studies": {"memory": entry}})
    assert len(error.value.lines) == 1 and says in error.value.lines[0]
