"""`mlquant ratings`: simulated raters of known taste are recovered; files that hold no answers are refused."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from support.commands import run, succeeds
from support.raters import ANCHOR, REFERENCE, TRUE, output, preferred, saved, scored
from support.readmes import unexplained

from mlquant.core.errors import InputError
from mlquant.experiments import heard
from mlquant.listening import ratings

SAMPLES = [f"sample{i}" for i in range(5)]
STRENGTHS = {5: 6.0, 6: 2.0, 7: 1.0, 8: 2.0}


def answers_of(rows, folder):
    return ratings.read([saved(folder / "all.csv", rows)])


def many(count, seed=0, samples=SAMPLES, **options):
    return [row for i in range(count) for row in scored(f"rater {i}", samples, 1000 * seed + i, **options)]


# what is found


def test_the_order_and_the_differences_of_known_raters_come_out(tmp_path):
    files = [saved(tmp_path / "in" / f"r{i}.csv", scored(f"rater {i}", SAMPLES, i)) for i in range(12)]
    files.append(saved(tmp_path / "in" / "chance.csv", scored("by chance", SAMPLES, 99, by_chance=True)))
    printed = succeeds("ratings", *files, "-o", tmp_path / "out").out
    found, pairs, raters = (pd.read_csv(tmp_path / "out" / f"{name}.csv") for name in ("ratings", "pairs", "raters"))
    assert list(found["stimulus"]) == ["reference", *["output"] * 4, "anchor"]
    assert list(found["index"].dropna()[[1, 4]]) == [3, 7] and set(found["index"].dropna()) == {3, 6, 7, 8}
    assert (found["low"] < found["score"]).all() and (found["score"] < found["high"]).all()
    named = {(row.stimulus_a, row.stimulus_b, row.index_a, row.index_b): row for row in pairs.itertuples()}
    assert len(named) == 15
    for row in pairs.itertuples():
        truth = [
            TRUE[{"reference": REFERENCE, "anchor": ANCHOR}.get(kind) or output(int(index))]
            for kind, index in ((row.stimulus_a, row.index_a), (row.stimulus_b, row.index_b))
        ]
        difference = truth[0] - truth[1]
        if "reference" not in (row.stimulus_a, row.stimulus_b):
            assert abs(row.difference - difference) < 6
        if abs(difference) > 15:
            assert row.better == "A" and row.low_difference > 0
        if difference == 0:
            assert pd.isna(row.better) and row.low_difference < 0 < row.high_difference
    left_out = raters.set_index("rater")["left_out"].dropna()
    assert list(left_out.index) == ["by chance"] and "missed the hidden reference in" in left_out["by chance"]
    assert (found["raters"] == 12).all() and (found["answers"] == 60).all()
    readme = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    for text in (printed, readme):
        assert "13 raters, 1 left out. A rater who gives the hidden reference less than 90 in more than 15% of" in text
        assert "3 out_3 is better than 7 out_7" in text
    assert unexplained(readme, {"ratings": found, "pairs": pairs, "raters": raters}) == []
    assert (tmp_path / "out/ratings.png").read_bytes()[:4] == b"\x89PNG"
    assert b"<svg" in (tmp_path / "out/ratings.svg").read_bytes()


def test_the_truth_lies_within_the_intervals_as_often_as_they_say(tmp_path):
    held = np.array([0, 0, 0, 0])
    true = {what: TRUE[what] for what in (REFERENCE, output(6), output(7), output(8))}
    for seed in range(1, 41):
        answers = answers_of(many(8, seed, true=true, taste=10.0), tmp_path)
        means = ratings.means(answers).set_index("index")
        pairs = ratings.pairs(answers).set_index(["index_a", "index_b"])
        ends = pairs[["low_difference", "high_difference"]]
        low, high = sorted(ends.loc[(6, 7)] if (6, 7) in pairs.index else -ends.loc[(7, 6)])
        same = pairs.loc[(6, 8)] if (6, 8) in pairs.index else pairs.loc[(8, 6)]
        held += [
            means.loc[6, "low"] <= TRUE[output(6)] <= means.loc[6, "high"],
            low <= TRUE[output(6)] - TRUE[output(7)] <= high,
            same["low_difference"] <= 0 <= same["high_difference"],
            same["p"] > 0.05,
        ]
    assert (held >= 33).all(), held  # of 40: 38 are to expect, fewer than 33 in one of 300 such tests
    assert held.sum() < 4 * 40


def test_preferences_of_known_raters_come_out(tmp_path):
    files = [saved(tmp_path / "in" / f"{i}.csv", preferred(f"r{i}", SAMPLES, i, STRENGTHS)) for i in range(10)]
    printed = succeeds("ratings", *files, "-o", tmp_path / "out").out
    found, pairs = (pd.read_csv(tmp_path / "out" / f"{name}.csv") for name in ("ratings", "pairs"))
    assert list(found["index"].iloc[[0, 3]]) == [5, 7]
    for row in pairs.itertuples():
        a, b = STRENGTHS[row.index_a], STRENGTHS[row.index_b]
        assert row.low_share <= a / (a + b) <= row.high_share
        assert row.better_a + row.ties + row.better_b == row.answers == 50
        test = stats.binomtest(row.better_a, row.better_a + row.better_b)
        assert row.p == pytest.approx(test.pvalue, rel=1e-4)
        assert (row.better == "A") == (row.p_holm < 0.05)
    assert "5 out_5 is better than 7 out_7" in printed and "10 raters, 0 left out." in printed
    assert "no rater is left out" in (tmp_path / "out/README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("missed", "left_out"), [(0, False), (1, False), (2, True)])
def test_a_rater_may_miss_the_reference_in_15_percent_of_the_trials(tmp_path, missed, left_out):
    rows = scored("rater", [f"s{i}" for i in range(7)], 1)  # a seventh is 14 %
    references = [row for row in rows if row["stimulus"] == "reference"]
    for i, row in enumerate(references):
        row["score"] = 89 if i < missed else 90
    table = ratings.screened(answers_of(rows, tmp_path))
    assert list(table["missed"]) == [missed] and (table["left_out"] != "").tolist() == [left_out]


def test_p_values_are_those_of_the_t_test_and_of_holm():
    random = np.random.default_rng(1)
    for count in (3, 8, 30):
        values = random.normal(0.3, 1, count)
        assert ratings.t_test(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert np.isnan(ratings.t_test(np.array([1.0, 2.0])))
    assert ratings.t_test(np.array([0.0] * 5)) == 1
    assert ratings.t_test(np.array([4.0] * 5)) == 1 / 16
    # Holm, 1979, by hand: 0.01 * 3, then 0.02 * 2 = 0.04, then the larger of 0.04 and 0.03
    assert ratings.holm(np.array([0.02, np.nan, 0.03, 0.01])) == pytest.approx([0.04, np.nan, 0.04, 0.03], nan_ok=True)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_corrected_p_values_keep_their_order_and_are_never_smaller(p):
    corrected = ratings.holm(np.array(p))
    assert (corrected >= np.array(p)).all() and (corrected <= 1).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(corrected[order]) >= 0).all()
    assert corrected.min() == pytest.approx(min(1, len(p) * min(p)))


@settings(max_examples=15)
@given(
    scores=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=6, max_size=6),
    shift=st.integers(0, 3),
)
def test_means_and_differences_are_those_of_the_scores_whatever_the_order_of_rows(tmp_path_factory, scores, shift):
    folder = tmp_path_factory.mktemp("any")
    rows = many(3, samples=["s", "t"], true={REFERENCE: 100.0, output(6): 50.0, output(7): 50.0})
    given_scores = iter(scores)
    for trial in {(row["rater"], row["trial"]): None for row in rows}:
        pair = next(given_scores)
        for row in rows:
            if (row["rater"], row["trial"]) == trial and row["index"]:
                row["score"] = pair[row["index"] == "7"]
    first = answers_of(rows, folder)
    again = answers_of([*rows[shift * 6 :], *rows[: shift * 6]], folder)
    for answers in (first, again):
        means = ratings.means(answers).set_index("index")["score"].dropna()
        assert means.loc[[6, 7]].tolist() == pytest.approx([np.mean([pair[i] for pair in scores]) for i in (0, 1)])
        row = ratings.pairs(answers).set_index(["stimulus_a", "stimulus_b"]).loc[("output", "output")]
        sign = 1 if row["index_a"] == 6 else -1
        assert sign * row["difference"] == pytest.approx(np.mean([a - b for a, b in scores]))
        assert row["low_difference"] <= row["difference"] + 1e-9 and row["difference"] - 1e-9 <= row["high_difference"]
        assert 0 <= row["p"] <= row["p_holm"] <= 1


def test_two_raters_are_too_few_for_intervals_and_one_sample_too(tmp_path):
    file = saved(tmp_path / "two.csv", many(2, samples=["one"]))
    succeeds("ratings", file, "-o", tmp_path / "out")
    found, pairs = (pd.read_csv(tmp_path / "out" / f"{name}.csv") for name in ("ratings", "pairs"))
    assert found[["low", "high", "low_samples", "high_samples"]].isna().all(axis=None)
    assert pairs[["low_difference", "p", "p_holm", "better"]].isna().all(axis=None) and found["score"].notna().all()


def test_what_else_lies_in_the_folder_stays(tmp_path):
    file = saved(tmp_path / "answers" / "one.csv", many(3))
    succeeds("ratings", file, "-o", tmp_path / "answers")
    assert {path.name for path in (tmp_path / "answers").iterdir()} == {
        *("one.csv", "ratings.csv", "pairs.csv", "raters.csv", "README.md", "ratings.png", "ratings.svg")
    }


def test_a_table_of_scores_is_shown_with_its_intervals(tmp_path):
    for kind, rows in (("mushra", many(4)), ("preference", preferred("ann", SAMPLES, 1, STRENGTHS))):
        file = saved(tmp_path / f"{kind}.csv", rows)
        succeeds("ratings", file, "-o", tmp_path / kind)
        table = heard.shown(tmp_path / kind / "ratings.csv", "240118.3f9a1c2e")
        assert table["title"] == "Listening test t.12345678"
        first, last = table["rows"][0], table["rows"][-1]
        if kind == "mushra":
            assert (first[0], last[0]) == ("hidden reference", "low anchor, Codec 2 700C")
            assert re.fullmatch(r"9\d", first[1]) and re.fullmatch(r"9\d to \d+", first[2]) and first[3:] == ["4", "20"]
        else:
            assert last[0] == "7 out_7" and re.fullmatch(r"0\.\d\d", last[1]) and last[2:] == ["", "1", "15"]
    title = heard.shown(tmp_path / "mushra/ratings.csv", "240118.00000000")["title"]
    assert title == "Listening test t.12345678, of the variant 240118.3f9a1c2e"
    for text in ("", "a,b\n1,2\n", (tmp_path / "mushra/pairs.csv").read_text(encoding="utf-8")):
        (tmp_path / "other.csv").write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=r"other\.csv: not a ratings\.csv of mlquant ratings, expected test, "):
            heard.shown(tmp_path / "other.csv", "x")


# what is refused


@dataclasses.dataclass
class Wrong:
    told: str
    column: str = ""
    value: object = ""
    row: int = 3


@pytest.mark.parametrize(
    "wrong",
    [
        Wrong("score: found '101', expected a number from 0 to 100", "score", 101),
        Wrong("score: found '-1', expected a number from 0 to 100", "score", -1),
        Wrong("score: found 'nan', expected a number from 0 to 100", "score", "nan"),
        Wrong("score: found '', expected a number from 0 to 100", "score", ""),
        Wrong("score: found '1e999', expected", "score", "1e999"),
        Wrong("stimulus: found 'outptu', expected reference, anchor or output", "stimulus", "outptu"),
        Wrong("kind: found 'abx', expected mushra or preference", "kind", "abx"),
        Wrong("time: found 'yesterday', expected a time", "time", "yesterday"),
        Wrong("trial: found '0', expected a number from 1 on", "trial", 0),
        Wrong("listens: found '1.5', expected a whole number", "listens", 1.5),
        Wrong("seconds: found '-1', expected seconds", "seconds", -1),
        Wrong("rater: found ' ', expected a name", "rater", " "),
        Wrong("found test 'other.1', expected 't.12345678' as in", "test", "other.1"),
        Wrong("found experiment 'x', expected '240118.3f9a1c2e' as in", "experiment", "x"),
    ],
    ids=lambda wrong: f"{wrong.column} {wrong.value}",
)
def test_a_value_that_cannot_be_is_told_with_file_and_row(tmp_path, wrong):
    rows = many(3)
    rows[wrong.row - 2][wrong.column] = wrong.value
    file = saved(tmp_path / "ann.csv", rows)
    ended = run("ratings", file, "-o", tmp_path / "out")
    assert ended.status == 1 and len(ended.err) == 1
    assert ended.err[0].startswith(f"mlquant ratings: {file}: row {wrong.row}: {wrong.told}")
    assert not (tmp_path / "out").exists()


def refused(tmp_path, *files):
    ended = run("ratings", *files, "-o", tmp_path / "out")
    assert ended.status == 1 and not (tmp_path / "out").exists()
    return [line.removeprefix("mlquant ratings: ").replace(f"{tmp_path}/", "") for line in ended.err]


def test_files_that_are_no_answers_are_told(tmp_path):
    rows = scored("ann", SAMPLES, 1)
    good = saved(tmp_path / "good.csv", rows)
    text = good.read_text(encoding="utf-8")
    files = {
        "empty.csv": ("", "has no column test, expected test, kind, "),
        "heads.csv": (text.splitlines()[0] + "\n", "has no answers, expected one or more"),
        "semicolons.csv": (text.replace(",", ";"), "has no column test, expected test, kind, "),
        "more.csv": (re.sub("^(.*)$", r"\1,x", text, flags=re.MULTILINE), "has 16 columns, expected test, kind, "),
        "cut.csv": (text[:-20], "row 31: has fewer than 15 values"),
        "quote.csv": (text.replace("reference", '"ref', 1), "no table in UTF-8 ("),
    }
    for name, (content, told) in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        (line,) = refused(tmp_path, tmp_path / name)
        assert line.startswith(f"{name}: {told}"), line
    (tmp_path / "latin.csv").write_bytes(text.replace("ann", "\xe4nn").encode("latin-1"))
    assert refused(tmp_path, tmp_path / "latin.csv")[0].startswith("latin.csv: no table in UTF-8 (")
    assert refused(tmp_path, tmp_path / "none.csv") == ["none.csv: no such file"]
    assert refused(tmp_path, tmp_path) == [f"{tmp_path}: is a folder, expected a file"]
    (tmp_path / "bom.csv").write_text("\ufeff" + text.replace("\n", "\r\n"), encoding="utf-8", newline="")
    assert len(ratings.read([tmp_path / "bom.csv"])) == len(rows)  # as a spreadsheet saves it again


def test_trials_that_are_there_twice_or_not_as_a_whole_are_told(tmp_path):
    rows = scored("ann", SAMPLES, 1)
    good = saved(tmp_path / "good.csv", rows)
    again = saved(tmp_path / "again.csv", rows[:12])
    (line,) = refused(tmp_path, good, again)
    assert line.startswith("again.csv: row 2: trial 1 of rater 'ann' was answered in good.csv, row 2, already")
    assert len(refused(tmp_path, good, good)) == 1
    twice = saved(tmp_path / "twice.csv", [*rows, rows[2]])
    assert refused(tmp_path, twice)[0].startswith("twice.csv: row 32: trial 1 of rater 'ann' was answered in twice.csv")
    less = saved(tmp_path / "less.csv", [row for row in rows if (row["trial"], row["index"]) != (2, "6")])
    assert refused(tmp_path, less) == [
        "less.csv: row 8: trial 2 of rater 'ann' has no 6 out_6, expected all sounds in each trial"
    ]
    headless = saved(tmp_path / "headless.csv", [row for row in rows if row["stimulus"] != "reference"])
    assert "has no hidden reference, expected one in each trial" in refused(tmp_path, headless)[0]
    same = [row | {"sample": SAMPLES[0]} for row in rows[:12]]
    assert (
        "has sample sample0 as in same.csv, row 2, expected it once"
        in refused(tmp_path, saved(tmp_path / "same.csv", same))[0]
    )
    pairs = preferred("ann", ["s"], 1, {5: 1.0, 6: 1.0})
    (line,) = refused(tmp_path, saved(tmp_path / "both.csv", [row | {"score": 1} for row in pairs]))
    assert line == "both.csv: row 2: trial 1 of rater 'ann' has the scores 1, 1, expected two that make 1"
    (line,) = refused(tmp_path, saved(tmp_path / "quarter.csv", [pairs[0] | {"score": 0.25}, pairs[1]]))
    assert line == "quarter.csv: row 2: score: found '0.25', expected 0, 0.5 or 1"


def test_if_nobody_finds_the_reference_that_is_told(tmp_path):
    file = saved(tmp_path / "a.csv", scored("by chance", SAMPLES, 99, by_chance=True))
    assert refused(tmp_path, file) == ["all 1 raters are left out, expected one or more that find the hidden reference"]


@settings(max_examples=30)
@given(st.data())
def test_no_file_ends_in_a_traceback(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("fuzz")
    text = saved(folder / "a.csv", scored("ann", SAMPLES[:2], 1)).read_text(encoding="utf-8")
    place = data.draw(st.integers(0, len(text)))
    (folder / "a.csv").write_bytes(
        (text[:place] + data.draw(st.text(max_size=6)) + text[place + data.draw(st.integers(0, 30)) :]).encode(
            "utf-8", "surrogatepass"
        )
    )
    ended = run("ratings", folder / "a.csv", "-o", folder / "out")
    assert ended.status in (0, 1) and all(line.startswith("mlquant ratings: ") for line in ended.err)
