"""The study of measures: its conditions, the agreement of measures of known ranks, and what becomes of claims."""

import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support import studied_set
from support.commands import succeeds
from support.configs import COMPARED
from support.readmes import unexplained
from support.studied_set import NAMES, OF_SPEAKER, SHA256, SPEAKERS

from mlquant.core import disk
from mlquant.core.errors import InputError
from mlquant.core.intervals import RESAMPLES, resampled_means
from mlquant.measures.columns import COLUMNS, OF_SET
from mlquant.plan import config
from mlquant.plan.plan import Plan
from mlquant.studies import measures


def noise_of(name):
    """What an utterance has of its own in a condition: less than what conditions below differ by."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return OF_SPEAKER + np.random.default_rng(seed).normal(0, 0.02, len(SPEAKERS))


class Made:
    """A folder with the measures of conditions, and the settings of the study of them."""

    def __init__(self, folder):
        self.folder, self.rows = folder, []
        studied_set.write(folder)

    def add(self, family, condition, of=None, names=NAMES, **means):
        """A condition whose measures have these means, in two shards; a mean may be an array of all utterances."""
        found = {measure: mean + noise_of(measure + condition) for measure, mean in means.items()}
        files = studied_set.write_measures(self.folder, len(self.rows), found, names)
        self.rows.append({"family": family, "condition": condition, "of": of, "files": files})
        return self

    def settings(self, claims=(), **changes):
        claims = [{"says": "It is so", "by_less_than": None, **claim} for claim in claims]
        made = {"kind": "measures", "name": "m", "claims": claims, "conditions": self.rows}
        return {**made, **studied_set.ASKED, **changes}

    def tables(self, claims=(), **changes):
        """Its tables by name."""
        with disk.working_in(self.folder):
            return measures.tables(self.settings(claims, **changes))

    def study(self, claims=(), **changes):
        """The tables that `mlquant study` writes, by name."""
        words = [json.dumps(self.settings(claims, **changes)), "-o", "made"]
        succeeds("study", *words, cwd=self.folder)
        return {path.stem: pd.read_csv(path, na_filter=False) for path in (self.folder / "made").glob("*.csv")}

    def refused(self, **changes):
        return studied_set.refused(self.folder, self.settings(**changes))


@pytest.fixture
def made(tmp_path):
    """Three outputs that PESQ and STOI rank alike, LSD the other way round; SD is of two of them."""
    made = Made(tmp_path)
    made.add("outputs", "index 1", pesq=3.8, stoi=0.9, lsd_dB=5.0)
    made.add("outputs", "index 3", pesq=3.3, stoi=0.7, lsd_dB=4.0, sd_dB2=5.0)
    made.add("outputs", "index 6", pesq=2.9, stoi=0.5, lsd_dB=3.0, sd_dB2=15.0)
    made.add("outputs", "plain", "index 6", pesq=2.4, stoi=0.45, lsd_dB=2.5, sd_dB2=20.0)
    made.add("Codec 2", "Codec 2 3200", pesq=3.1, stoi=0.6, lsd_dB=3.5)
    made.add("Codec 2", "Codec 2 1200", pesq=2.5, stoi=0.7, lsd_dB=6.0)
    return made


# --- agreement -------------------------------------------------------------------------------------------


def test_measures_of_known_ranks_agree_by_what_these_say(made):
    table = made.tables()["agreement"].set_index(["family", "measure", "measure_b"])
    assert table.loc[("outputs", "pesq", "stoi"), "kendall_tau"] == 1
    assert table.loc[("outputs", "pesq", "lsd_dB"), "kendall_tau"] == -1  # a lower LSD is better
    assert table.loc[("outputs", "sd_dB2", "pesq"), ["conditions", "kendall_tau"]].tolist() == [3, 1]
    # Of 15 pairs of six conditions PESQ and STOI rank those of Codec 2 1200 with three others, and a tie, by chance.
    pesq, stoi = [3.8, 3.3, 2.9, 2.4, 3.1, 2.5], [0.9, 0.7, 0.5, 0.45, 0.6, 0.7]
    expected = scipy.stats.kendalltau(pesq, stoi).statistic
    assert table.loc[("all", "pesq", "stoi"), "kendall_tau"] == pytest.approx(expected, abs=0.1)
    assert ("Codec 2", "pesq", "stoi") not in table.index, "two conditions have no rank agreement to speak of"
    assert ((table["low"] <= table["kendall_tau"]) & (table["kendall_tau"] <= table["high"])).all()
    assert table["low"].ge(-1).all() and table["high"].le(1).all()


def test_an_output_under_two_names_counts_once_over_all_conditions(made):
    before = made.tables()["agreement"]
    made.rows.append(made.rows[2] | {"family": "postfilter", "condition": "postfilter 1"})
    after = made.tables()["agreement"]
    pd.testing.assert_frame_equal(*(table[table["family"] == "all"] for table in (before, after)))


numbers = st.integers(0, 5).map(float) | st.just(np.nan)


@given(st.integers(2, 12).flatmap(lambda n: st.lists(st.tuples(numbers, numbers), min_size=n, max_size=n)))
def test_the_coefficient_is_kendall_s_tau_b_of_what_both_have(pairs):
    values = np.array(pairs)
    both = values[np.isfinite(values).all(axis=1)]
    with np.errstate(invalid="ignore"):
        expected = scipy.stats.kendalltau(*both.T).statistic if len(both) > 1 else np.nan
    found = measures.kendall(np.stack([values, -values]))
    np.testing.assert_allclose(found[:, 0, 1], expected, atol=1e-12)


def test_an_interval_of_the_agreement_holds_the_truth(tmp_path):
    """Conditions of which two are close to each other: whether they are ranked alike is left to chance."""
    rng, made = np.random.default_rng(3), Made(tmp_path)
    by_speaker = rng.normal(0, 0.5, 8)[np.arange(len(SPEAKERS)) // 6]
    for i, (pesq, stoi) in enumerate([(3.0, 0.9), (2.0, 0.5), (1.0, 0.1), (2.9 + by_speaker, 0.5)]):
        made.add("outputs", f"index {i}", pesq=pesq, stoi=stoi)
    row = made.tables()["agreement"].iloc[0]
    assert row["low"] < row["kendall_tau"] and row["high"] - row["low"] > 0.2


def test_drawn_means_are_those_of_all_utterances_of_the_speakers_drawn():
    rng = np.random.default_rng(5)
    speakers, values = np.repeat(list("abc"), [1, 4, 2]), rng.normal(size=(7, 2))
    values[0, 1] = np.nan  # the only one of a speaker
    drawn = np.random.default_rng(1).integers(3, size=(RESAMPLES, 3))
    found = resampled_means(values, speakers)
    for row, draw in zip(found[:20], drawn, strict=False):
        every = np.concatenate([values[speakers == "abc"[i]] for i in draw])
        expected = [column[np.isfinite(column)].mean() if np.isfinite(column).any() else np.nan for column in every.T]
        np.testing.assert_allclose(row, expected)


# --- means, steps and claims -----------------------------------------------------------------------------


def test_the_means_of_conditions_have_the_intervals_of_a_test_set(made):
    table = made.tables()["conditions"].set_index(["condition", "measure"])
    row = table.loc[("index 3", "pesq")]
    assert row["mean"] == pytest.approx(3.3 + noise_of("pesqindex 3").mean(), rel=1e-5)
    assert row[["utterances", "speakers"]].tolist() == [48, 8] and row["low"] < row["mean"] < row["high"]
    assert ("index 1", "sd_dB2") not in table.index and ("index 1", "estoi") not in table.index


def test_steps_go_from_one_condition_to_the_next_and_from_an_output_to_its_variant(made):
    table = made.tables()["steps"]
    pairs = [*dict.fromkeys(zip(table["condition"], table["condition_b"], strict=True))]
    assert pairs == [
        *[("index 1", "index 3"), ("index 3", "index 6"), ("Codec 2 3200", "Codec 2 1200"), ("index 6", "plain")]
    ]
    of = table.set_index(["condition", "measure"])
    assert of.loc[("index 1", "pesq"), "difference"] == pytest.approx(-0.5, abs=0.02)
    assert of.loc[("index 1", "pesq"), "verdict"] == "worse" and of.loc[("index 1", "lsd_dB"), "verdict"] == "better"
    assert of.loc["index 1", "beyond_chance"].all()


PAIR = {"better": "index 3", "than": "Codec 2 3200"}
CLAIMS = {
    "in all measures": ({"better": "index 1", "than": "Codec 2 3200"}, {"lsd_dB": 2.0}, "pesq stoi lsd_dB", "", ""),
    "in PESQ alone": (PAIR, {"stoi": 0.6, "lsd_dB": 4.0}, "pesq", "lsd_dB", "stoi"),
    "in 2 of 3 measures": (PAIR, {}, "pesq stoi", "lsd_dB", ""),
    "in no measure": ({"better": "Codec 2 3200", "than": "index 3"}, {"lsd_dB": 3.5}, "", "pesq stoi", "lsd_dB"),
}


@pytest.mark.parametrize("holds", CLAIMS)
def test_a_claim_is_told_by_the_measures_that_confirm_it_contradict_it_or_cannot_tell(tmp_path, holds):
    claim, changes, *expected = CLAIMS[holds]
    made, means = Made(tmp_path), {"pesq": 3.3, "stoi": 0.7, "lsd_dB": 4.0, "sd_dB2": 5.0}
    made.add("outputs", "index 3", **means | {k: v for k, v in changes.items() if "index 3" in claim.values()})
    made.add("outputs", "index 1", **means | changes)
    made.add("Codec 2", "Codec 2 3200", pesq=3.1, stoi=0.6, lsd_dB=3.5)
    tables = made.tables([claim])
    (row,) = tables["claims"].to_dict("records")
    assert [row[name] for name in ("confirmed_by", "contradicted_by", "undecided_by")] == expected
    assert row["holds"] == holds and row["says"] == "It is so"
    each = tables["claims_by_measure"].set_index("measure")
    assert {*each.index} == {"pesq", "stoi", "lsd_dB"}, "Codec 2 has no SD"
    for measure, one in each.iterrows():
        confirms = measure in row["confirmed_by"].split()
        assert (one["verdict"] == "confirms") == confirms == (one["low"] > 0) and one["low"] < one["gain"] < one["high"]


def test_a_claim_that_one_loss_is_smaller_than_another_compares_the_two(made):
    smaller = {"better": "index 3", "than": "index 6", "by_less_than": ["index 1", "index 3"]}  # PESQ: 0.4 and 0.5
    larger = {"better": "index 1", "than": "index 3", "by_less_than": ["index 3", "index 6"]}
    tables = made.tables([smaller, larger])
    one, other = tables["claims"].to_dict("records")
    assert "pesq" in one["confirmed_by"] and "pesq" in other["contradicted_by"]
    assert one["by_less_than"] == "index 1 over index 3"
    gain = tables["claims_by_measure"].query("measure == 'pesq'")["gain"]
    assert gain.tolist() == pytest.approx([0.1, -0.1], abs=0.03)


def test_a_measure_that_sees_no_difference_is_no_witness(tmp_path):
    made = Made(tmp_path)
    for factor, pesq in (("1", 2.8), ("1.2", 2.9)):
        made.add("postfilter", f"postfilter {factor}", pesq=pesq)
    for row in made.rows:  # the same SD, as it is of what comes before the postfilter
        for path in row["files"]:
            table = pd.read_csv(tmp_path / path)
            table.assign(sd_dB2=np.arange(len(table))).to_csv(tmp_path / path, index=False)
    tables = made.tables([{"better": "postfilter 1.2", "than": "postfilter 1"}])
    assert tables["claims"]["holds"].tolist() == ["in all measures"]
    assert tables["claims_by_measure"]["measure"].tolist() == ["pesq"]
    steps = tables["steps"].set_index("measure")
    assert steps.loc["sd_dB2", ["difference", "low", "high", "verdict"]].tolist() == [0, 0, 0, "cannot tell"]


def test_of_two_speakers_nothing_is_beyond_chance(tmp_path):
    made = Made(tmp_path)
    for path in ("index 3", "Codec 2 3200"):
        made.add("outputs", path, pesq=len(path))
    for row in made.rows:
        for path in row["files"]:
            table = pd.read_csv(tmp_path / path)
            table.assign(speaker=["a", *["b"] * (len(table) - 1)]).to_csv(tmp_path / path, index=False)
    tables = made.tables([PAIR])
    assert tables["claims"]["holds"].tolist() == ["in no measure"] and tables["conditions"]["low"].isna().all()
    assert tables["claims"]["undecided_by"].tolist() == ["pesq"] and not tables["steps"]["beyond_chance"].any()


def test_measures_are_those_that_say_what_is_better_each_kind_once():
    found = measures.measures()
    assert {"sd_dB2", "sd_b_dB2", "pesq", "stoi", "estoi", "lsd_dB"} <= {*found} <= {*OF_SET}
    assert not {"frames", "latent_mse", "sd_voiced_dB2", "share_above_2dB"} & {*found}
    assert all(COLUMNS[name].better for name in found)


def test_the_folder_of_a_study_explains_every_column_and_the_report_says_what_holds(made):
    entry = {"kind": "measures", "experiment": "240118", "test_set": "mine", "postfiltered": None}
    record = {"kind": "study", "name": "m", "key": "0123abcd", "settings": entry}
    record |= {"networks": {}, "quantisers": {}, "lowered": {}}
    claims = [PAIR | {"says": "First"}, {"says": "Second", "better": "index 1", "than": "index 3"}]
    tables = made.study(claims, record=record)
    assert unexplained((made.folder / "made/README.md").read_text(encoding="utf-8"), tables) == []
    facts, shown = measures.report(made.folder / "made", {})
    assert facts["utterances"] == 48 and facts["speakers"] == 8 and facts["conditions"] == 6
    assert facts["disputed"] == 4 and facts["steps"] == 4
    claims, agreement, means = (table["rows"] for table in shown)
    assert claims[0] == ("First", "in 2 of 3 measures", "PESQ, STOI", "LSD")
    assert means[0][0] == "index 1" and any("±" in cell for cell in means[0])
    assert shown[1]["heads"] == ["measure", "SD", "PESQ", "STOI", "LSD"]
    of_pesq = dict(zip(shown[1]["heads"], agreement[1], strict=True))
    assert of_pesq["measure"] == "PESQ" and of_pesq["PESQ"] == "" and of_pesq["SD"].startswith("1.00 (")
    folders = [{"folder": "made", "key": "0123abcd", "newer": None, "time": None}]
    succeeds("report", json.dumps({"folders": folders}), "-o", "report.html", cwd=made.folder)
    page = " ".join((made.folder / "report.html").read_text(encoding="utf-8").split())
    for words in (
        "6 conditions on the 48 utterances of the test set <code>mine</code>, by 8 speakers",
        "<li>First: in 2 of 3 measures.</li>",
        "Of 4 steps from one condition to the next, 4 are better by one measure and worse by another",
    ):
        assert words in page, words


def test_what_cannot_be_compared_is_one_line(made):
    other = [made.rows[0] | {"files": ["set.csv"]}]
    assert "set.csv: not measures of a test set" in made.refused(conditions=other)
    made.add("noise", "noise 10 dB", names=NAMES[::-1], pesq=3.0)
    assert "noise 10 dB: was measured on other utterances than the first" in made.refused()
    for path in itertools.chain(*(row["files"] for row in made.rows)):
        (made.folder / path).write_text(",".join(OF_SET) + "\n", encoding="utf-8")
    assert "test_sets.mine: holds no utterance" in made.refused()


def test_an_utterance_that_a_network_was_trained_on_is_refused(made):
    pd.DataFrame({"path": ["b.wav"], "samples_sha256": [SHA256[30]]}).to_csv(made.folder / "manifest.csv", index=False)
    assert "manifest.csv: b.wav is the test sample u30" in made.refused()


# --- conditions ------------------------------------------------------------------------------------------

ENTRY = {"kind": "measures", "experiment": "240118", "test_set": "mine"}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A configuration with a test set of own files, and a study of it."""
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    Path("own/a.wav").touch()
    raw = yaml.safe_load(COMPARED)
    raw["test_sets"] = {"mine": {"files": "own", "shards": 2}}
    raw["studies"] = {"m": ENTRY}
    return raw


def planned(raw, **settings):
    return Plan(config.load(raw | {"studies": {"m": raw["studies"]["m"] | settings}}))


def test_by_default_all_outputs_modes_noises_and_the_postfilter_of_the_last_quantised_output_are_measured(mine):
    plan = planned(mine)
    rows = plan.studies["m"].settings["conditions"]
    names = {family: [row["condition"] for row in rows if row["family"] == family] for family in measures.FAMILIES}
    assert names["outputs"] == ["index 1", "index 3", "index 5", "index 6", "index 7"]
    assert names["Codec 2"][0] == "Codec 2 3200" and len(names["Codec 2"]) == 7
    assert names["noise"][0] == "noise 0 dB" and names["noise"][-1] == "noise 40 dB"
    assert names["postfilter"] == [f"postfilter {factor:g}" for factor in (1, 1.1, 1.2, 1.3, 1.4, 1.5)]
    files = {row["condition"]: row["files"] for row in rows}
    assert files["postfilter 1"] == files["index 7"] != files["index 6"]
    noise = plan.graph[files["noise 15 dB"][0].rpartition("/")[0]]
    assert noise.settings == {"process": "noise", "snr_dB": 15.0} and "trained" not in noise.inputs
    manifests = plan.studies["m"].settings["manifests"]
    assert manifests and all(path.endswith("/manifest.csv") for path in manifests)


def test_what_the_experiment_measures_on_the_set_is_not_measured_again(mine):
    alone = planned(mine, noises=[], postfilters=[], modes=["3200"])
    mine["experiments"]["240118"]["test_set"] = "mine"
    both = planned(mine, noises=[], postfilters=[], modes=["3200"])
    counts = [sum(node.kind == "set_measures" for node in plan.nodes.values()) for plan in (alone, both)]
    assert counts == [12, 12]  # six outputs, of which one is Codec 2, in two shards


def test_a_variant_is_an_output_with_other_settings(mine):
    plan = planned(mine, variants={"smoothed": {"output": 6, "smooth": 0.25}, "same": {"output": 6, "mbest": 5}})
    rows = {row["condition"]: row for row in plan.studies["m"].settings["conditions"]}
    assert rows["same"]["files"] == rows["index 6"]["files"] != rows["smoothed"]["files"]
    assert rows["smoothed"]["of"] == "index 6" and rows["smoothed"]["family"] == "outputs"
    (coding,) = (plan.graph[path.rpartition("/")[0]].settings for path in rows["smoothed"]["files"][:1])
    assert [step.get("smooth") for step in coding["steps"]].count(0.25) == 1


def test_a_claim_of_what_is_not_measured_is_told_to_be_not_measured(mine, made):
    claims = [{"says": "x", "better": "Codec 2 2400", "than": "noise 35 dB"}]
    plan = planned(mine, modes=["3200"], claims=claims)
    assert plan.studies["m"].settings["claims"] == [claims[0] | {"by_less_than": None}]
    tables = made.tables(claims)
    assert tables["claims"]["holds"].tolist() == ["not measured"] and tables["claims_by_measure"].empty


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"experiment": "240119"}, "studies.m.experiment: '240119' names no experiment"),
        ({"test_set": "mien"}, "studies.m.test_set: 'mien' names no test set, the nearest valid one is 'mine'"),
        ({"indices": [1, 2]}, "studies.m.indices.1: found 2, expected an output of 240118: 1, 3, 5, 6, 7, 8"),
        ({"indices": [3, 3]}, "studies.m.indices: found 3, 3, expected each once"),
        ({"postfiltered": 8}, "studies.m.postfiltered: 8 is of process codec2, expected one of a vocoder"),
        ({"postfilters": [0]}, "studies.m.postfilters.0"),
        ({"modes": [3100]}, "studies.m.modes.0: found '3100', expected one of 3200"),
        ({"noises": [10, 10.0000001]}, "studies.m: noise 10 dB is there twice, expected once"),
        ({"variants": {"x": {"output": 8, "postfilter": 1.2}}}, "studies.m.variants.x: postfilter goes with process"),
        ({"variants": {"x": {"output": 6, "stages": 9}}}, "studies.m.variants.x.stages: found 9, but quantiser"),
        (
            {"claims": [{"says": "x", "better": "index 3", "than": "codec2 3200"}]},
            "studies.m.claims.0: 'codec2 3200' names no condition, the nearest valid one is 'Codec 2 3200'",
        ),
        ({"claims": [{"says": "x", "better": "index 3", "than": "index 5", "by_less_than": ["index 1"]}]}, "claims.0"),
    ],
)
def test_a_study_of_what_is_not_there_is_one_line(mine, settings, says):
    with pytest.raises(InputError) as error:
        planned(mine, **settings)
    assert len(error.value.lines) == 1 and says in error.value.lines[0], error.value.lines


def test_outputs_that_were_taken_out_of_the_experiment_are_left_out(mine):
    claim = {"says": "x", "better": "index 2", "than": "x"}
    plan = planned(mine, variants={"x": {"output": 2}}, postfiltered=2, claims=[claim])
    names = [one["condition"] for one in plan.studies["m"].settings["conditions"]]
    assert "x" not in names and "index 2" not in names and "postfilter 1.2" in names


def test_with_few_voices_all_studies_are_those_that_download_no_more():
    for few in (True, False):
        loaded = config.load(config.read(Path(__file__).parents[2], entries={"few_voices": few}))
        assert loaded.studies["measures"].in_all != few


def test_a_quick_look_is_recorded_by_the_networks_that_are_measured(mine):
    loaded = config.load(mine | {"max_epochs": 1})
    from mlquant.plan.studies import record_of

    record = record_of(loaded, "study", "m", "0")
    assert {"nn4", "manifold"} <= record["networks"].keys() and {*record["quantisers"]} == {"vq"}
    assert "networks.nn4.epochs" in record["lowered"]
