"""The study of codecs: what parts and errors of known costs give, and which nodes it shares with an experiment."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from support import studied_set
from support.commands import succeeds
from support.configs import CONFIG
from support.readmes import unexplained
from support.studied_set import NAMES, OF_SPEAKER, SHA256

from mlquant.core import disk
from mlquant.core.errors import InputError
from mlquant.plan import config
from mlquant.plan.plan import Plan
from mlquant.plan.studies import record_of
from mlquant.studies import codec
from mlquant.vocoder.types import MODES

ROOT = Path(__file__).resolve().parents[2]

# What PESQ, ESTOI and LSD are more than those of the codec as it is; a lower LSD is better.
CHANGES = {
    "clean": (0, 0, 0),
    "exact pitch": (0.1, 0.02, 0),
    "exact voicing": (-0.05, -0.01, 0.2),
    "exact energy": (0, 0, 0),
    "exact shape": (0.4, 0.1, -1),
    "exact all": (0.6, 0.12, -1.2),
    "ber 0.01": (-0.5, -0.1, 1),
    "ber 0.05": (-1.2, -0.3, 2),
    "lost 0.05": (-0.3, -0.05, 0.5),
}
RATES = {"pitch": 200, "voicing": 50, "energy": 200, "shape": 750, "all": 1200}


class Made:
    """A folder with the measures of a codec and of two modes of Codec 2, and the settings of the study of them."""

    def __init__(self, folder):
        self.folder, self.rows = folder, []
        studied_set.write(folder)
        self.add("1200", 1200, (3.0, 0.7, 4.0), CHANGES)  # a codec's name may be a number
        errors = {name: change for name, change in CHANGES.items() if not name.startswith("exact")}
        self.add("Codec 2 3200", 3200, (3.3, 0.6, 4.0), errors)
        self.add("Codec 2 1300", 1300, (2.7, 0.5, 5.0), {name: 2 * np.array(of) for name, of in errors.items()})

    def add(self, name, bit_per_s, means, conditions):
        for condition, changes in conditions.items():
            rng = np.random.default_rng(len(self.rows))
            scores = {
                measure: mean + change + OF_SPEAKER + (rng.normal(0, 0.002, len(NAMES)) if any(changes) else 0)
                for measure, mean, change in zip(("pesq", "estoi", "lsd_dB"), means, changes, strict=True)
            }
            files = studied_set.write_measures(self.folder, len(self.rows), scores)
            part = condition.removeprefix("exact ") if condition.startswith("exact") else None
            row = {"codec": name, "bit_per_s": bit_per_s, "condition": condition}
            row |= {"part": part, "part_bit_per_s": part and RATES[part]}
            self.rows.append(row | {"files": files})

    def settings(self, **changes):
        return {"kind": "codec", "name": "c", "conditions": self.rows, **studied_set.ASKED, **changes}

    def tables(self):
        with disk.working_in(self.folder):
            return codec.tables(self.settings())

    def refused(self, **changes):
        return studied_set.refused(self.folder, self.settings(**changes))


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)


# --- tables ----------------------------------------------------------------------------------------------


def test_each_condition_has_its_mean_and_interval_over_speakers(made):
    table = made.tables()["conditions"]
    assert len(table) == 3 * len(made.rows)
    row = table.set_index(["codec", "condition", "measure"]).loc[("1200", "ber 0.01", "pesq")]
    assert row["mean"] == pytest.approx(2.5 + OF_SPEAKER.mean(), abs=0.002)
    assert row[["bit_per_s", "utterances", "speakers"]].tolist() == [1200, 48, 8] and row["low"] < row["mean"]


def test_a_part_costs_what_is_gained_when_it_is_not_quantised(made):
    table = made.tables()["parts"].set_index(["codec", "part", "measure"])
    assert {*table.index.get_level_values("codec")} == {"1200"}, "Codec 2 has no parts to leave unquantised"
    assert [*dict.fromkeys(table.index.get_level_values("part"))] == ["pitch", "voicing", "energy", "shape", "all"]
    for part, rate in RATES.items():
        for measure, change in zip(("pesq", "estoi", "lsd_dB"), CHANGES[f"exact {part}"], strict=True):
            row = table.loc[("1200", part, measure)]
            assert row["bit_per_s"] == rate
            assert row["difference"] == pytest.approx(change, abs=0.002)
            assert row["low"] <= row["difference"] <= row["high"]
    verdicts = {part: table.loc[("1200", part, "pesq"), "verdict"] for part in RATES}
    assert verdicts == dict.fromkeys(RATES, "better") | {"voicing": "worse", "energy": "cannot tell"}
    assert table.loc[("1200", "shape", "lsd_dB"), "verdict"] == "better", "a lower LSD is better"
    assert not table.loc[("1200", "energy", "pesq"), "beyond_chance"]


def test_errors_are_compared_with_the_same_codec_or_mode_without(made):
    table = made.tables()["errors"].set_index(["codec", "condition", "measure"])
    assert {*table.index.get_level_values("condition")} == {"ber 0.01", "ber 0.05", "lost 0.05"}
    for name, times in (("1200", 1), ("Codec 2 3200", 1), ("Codec 2 1300", 2)):
        row = table.loc[(name, "ber 0.05", "pesq")]
        assert row["difference"] == pytest.approx(-1.2 * times, abs=0.002) and row["verdict"] == "worse"
    assert table.loc[("1200", "lost 0.05", "lsd_dB"), "verdict"] == "worse"


def test_a_codec_is_compared_with_each_mode_in_the_same_condition(made):
    table = made.tables()["against"]
    assert {*table["codec"]} == {"1200"} and {*table["condition"]} == {"clean", "ber 0.01", "ber 0.05", "lost 0.05"}
    clean = table[(table["codec_b"] == "Codec 2 3200") & (table["condition"] == "clean")]
    assert clean["difference"].tolist() == pytest.approx([-0.3, 0.1, 0])
    assert clean["verdict"].tolist() == ["worse", "better", "cannot tell"]
    assert clean["bit_per_s_b"].tolist() == [3200] * 3
    wrong = table.set_index(["codec_b", "condition", "measure"]).loc[("Codec 2 1300", "ber 0.05", "pesq")]
    assert wrong["difference"] == pytest.approx(0.3 + 1.2, abs=0.003) and wrong["verdict"] == "better"


def test_the_folder_explains_every_column_and_the_report_says_what_parts_and_errors_cost(made):
    entry = {"kind": "codec", "codecs": ["1200"], "modes": ["3200", "1300"], "test_set": "mine"}
    record = {"kind": "study", "name": "c", "key": "0123abcd", "settings": entry}
    record |= {"networks": {}, "quantisers": {}, "lowered": {}}
    succeeds("study", json.dumps(made.settings(record=record)), "-o", "made", cwd=made.folder)
    tables = {path.stem: pd.read_csv(path) for path in (made.folder / "made").glob("*.csv")}
    assert {*tables} == {"conditions", "parts", "errors", "against"}
    assert unexplained((made.folder / "made/README.md").read_text(encoding="utf-8"), tables) == []
    assert all((made.folder / f"made/codec.{kind}").stat().st_size > 10000 for kind in ("png", "svg"))
    drawing = (made.folder / "made/codec.svg").read_text(encoding="utf-8")
    assert "<!-- Codec 2 1300 -->" in drawing and "<!-- wrong bits (%) -->" in drawing
    facts, shown = codec.report(made.folder / "made", {})
    (of_codec,) = facts["codecs"]
    assert of_codec["part"] == "shape" and of_codec["cost"] == pytest.approx(0.4, abs=0.002)
    assert of_codec["worst"] == "ber 0.05" and of_codec["modes"]["better"] == ["1300"]
    assert [table["rows"][0][0] for table in shown] == ["1200"] * 4
    folders = [{"folder": "made", "key": "0123abcd", "newer": None, "time": None}]
    succeeds("report", json.dumps({"folders": folders}), "-o", "report.html", cwd=made.folder)
    page = " ".join((made.folder / "report.html").read_text(encoding="utf-8").split())
    for words in (
        "1200 and the modes 3200 and 1300 of Codec 2, on the 48 utterances of the test set <code>mine</code>",
        "1200: of its parts, shape costs the most PESQ (0.40), all together 0.60.",
        "It loses the most PESQ with a bit error rate of 0.05, 1.20.",
        "By PESQ it is better than Codec 2 at 1300 bit/s. By PESQ it is worse than Codec 2 at 3200 bit/s.",
    ):
        assert words in page, words


def test_without_pesq_the_rest_is_there(made):
    for path in made.folder.glob("*_[01].csv"):
        pd.read_csv(path).assign(pesq=np.nan).to_csv(path, index=False)
    entry = {"kind": "codec", "codecs": ["1200"], "modes": [], "test_set": "mine"}
    record = {"kind": "study", "name": "c", "key": "0123abcd", "settings": entry}
    record |= {"networks": {}, "quantisers": {}, "lowered": {}}
    succeeds("study", json.dumps(made.settings(record=record)), "-o", "made", cwd=made.folder)
    folders = [{"folder": "made", "key": "0123abcd", "newer": None, "time": None}]
    succeeds("report", json.dumps({"folders": folders}), "-o", "report.html", cwd=made.folder)
    assert codec.report(made.folder / "made", {})[0]["codecs"][0]["part"] is None
    drawing = (made.folder / "made/codec.svg").read_text(encoding="utf-8")
    assert "<!-- PESQ was not measured -->" in drawing and "<!-- Codec 2 1300 -->" in drawing


def test_what_cannot_be_compared_and_what_was_trained_on_is_one_line(made):
    other = [*made.rows, made.rows[0] | {"condition": "ber 0.02", "files": made.rows[0]["files"][::-1]}]
    assert "1200, ber 0.02: was measured on other utterances than the first" in made.refused(conditions=other)
    manifest = {"path": ["b.wav"], "samples_sha256": [SHA256[30]]}
    pd.DataFrame(manifest).to_csv(made.folder / "manifest.csv", index=False)
    assert "manifest.csv: b.wav is the test sample u30" in made.refused()


# --- the plan --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole():
    """The plan of the configuration of the repository."""
    return Plan(config.load(config.read(ROOT)))


def test_each_condition_of_codecs_and_modes_is_measured_on_each_shard(whole):
    study = whole.studies["codec"]
    rows, settings = study.settings["conditions"], whole.config.studies["codec"]
    assert not settings.in_all and settings.modes == [*MODES]
    assert len(rows) == len(settings.codecs) * (1 + 5 + 4 + 3) + len(MODES) * (1 + 4 + 3)
    folders = {path.rpartition("/")[0] for row in rows for path in row["files"]}
    assert len(folders) == 2 * len(rows) and {whole.graph[folder].kind for folder in folders} == {"set_measures"}
    of = {(row["codec"], row["condition"]): row for row in rows}
    coding = whole.graph[of["codec700", "lost 0.05"]["files"][0].rpartition("/")[0]].settings
    path = whole.graph.codec("codec700").file("codec.json")
    assert coding == {"process": "codec", "codec": path, "lost": 0.05, "seed": 1}
    clean = whole.graph[of["codec700", "clean"]["files"][0].rpartition("/")[0]].settings
    assert clean == {"process": "codec", "codec": path}
    coding = whole.graph[of["codec700", "exact all"]["files"][0].rpartition("/")[0]].settings
    assert coding["exact"] == ["pitch", "voicing", "energy", "shape"]
    coding = whole.graph[of["Codec 2 700C", "ber 0.01"]["files"][0].rpartition("/")[0]].settings
    assert coding == {"process": "codec2", "mode": "700C", "delay": 80, "ber": 0.01, "seed": 1}
    assert of["Codec 2 700C", "clean"]["bit_per_s"] == 700
    assert any("/many_letters." in path for path in study.settings["manifests"])


def test_bits_per_second_are_those_of_the_codec_and_of_its_parts(whole):
    rows = [row for row in whole.studies["codec"].settings["conditions"] if row["codec"] == "codec1200"]
    assert {row["bit_per_s"] for row in rows} == {1200}
    assert {row["part"]: row["part_bit_per_s"] for row in rows if row["part"]} == RATES
    for entry in whole.config.codecs.values():
        assert whole.config.bits_of(entry) == sum(whole.config.bits_of_parts(entry).values())


def test_what_an_experiment_measures_of_a_codec_or_mode_is_not_measured_again(whole):
    of = {(row["codec"], row["condition"]): row["files"] for row in whole.studies["codec"].settings["conditions"]}
    shards = whole.graph.test_set("unseen")
    outputs = whole.config.experiments["codec1200"].outputs
    for index, name in ((5, "codec1200"), (7, "Codec 2 2400")):
        nodes = [whole.graph.set_measures(shard, outputs[index]) for shard in shards]
        assert of[name, "clean"] == [node.file("measures.csv") for node in nodes]
    own = {*whole.experiments["codec1200"].tables.inputs["of_set"]}
    assert {*of["codec1200", "clean"], *of["Codec 2 2400", "clean"]} <= own


def test_the_codecs_and_their_quantisers_are_recorded(whole):
    record = record_of(whole.config, "study", "codec", "0")
    assert {*record["codecs"]} == {"codec1600", "codec1200", "codec700", "codec450"}
    assert {"energy_8", "shape_30"} <= {*record["quantisers"]} and record["networks"] == {}
    assert record["codecs"]["codec1200"]["corpus"] == "many"
    assert "codecs" not in record_of(whole.config, "study", "vq", "0")


def test_a_quick_look_is_recorded_by_the_corpora_and_quantisers_of_codecs():
    lowered = config.load(config.read(ROOT, entries={"max_minutes": 0.5, "max_entries": 16}))
    found = record_of(lowered, "study", "codec", "0")["lowered"]
    assert "quantisers.shape_30.stages.0.size" in found and any(place.startswith("corpora.many.") for place in found)


ENTRY = {"kind": "codec", "codecs": ["small"], "test_set": "mine"}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"codecs": ["small", "smal"]}, "studies.c.codecs.1: 'smal' names no codec, the nearest valid one is 'small'"),
        ({"codecs": ["small", "small"]}, "studies.c.codecs: found small, small, expected each once"),
        ({"codecs": []}, "studies.c.codecs"),
        ({"test_set": "mien"}, "studies.c.test_set: 'mien' names no test set, the nearest valid one is 'mine'"),
        ({"modes": [3100]}, "studies.c.modes.0: found '3100', expected one of 3200"),
        ({"bers": [0.01, 0.010000000001]}, "studies.c.bers: found 0.01, 0.01, expected each once"),
        ({"bers": [0]}, "studies.c.bers.0"),
        ({"losses": [1.5]}, "studies.c.losses.0"),
    ],
)
def test_a_study_of_what_is_not_there_is_one_line(tmp_path, monkeypatch, settings, says):
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    Path("own/a.wav").touch()
    raw = yaml.safe_load(CONFIG) | {"test_sets": {"mine": {"files": "own"}}, "studies": {"c": ENTRY}}
    superframe = {"kind": "superframe", "stages": [{"size": 16}]}
    raw["quantisers"] |= {of: superframe | {"of": of} for of in ("energy", "shape")}
    raw["codecs"] = {"small": {"corpus": "voices", "energy": "energy", "shape": "shape"}}
    assert len(Plan(config.load(raw)).studies["c"].settings["conditions"]) == 13 + 8 * len(MODES)
    with pytest.raises(InputError) as error:
        config.load(raw | {"studies": {"c": ENTRY | settings}})
    assert len(error.value.lines) == 1 and says in error.value.lines[0], error.value.lines
