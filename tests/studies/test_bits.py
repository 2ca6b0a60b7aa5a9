"""The study that compares rates: its table, which lines are on the front, its figure and its labels."""

import itertools
import json
from pathlib import Path

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text
from support.readmes import unexplained

from mlquant import studies
from mlquant.core import disk, figures
from mlquant.core.errors import InputError
from mlquant.studies import bits, rates


def rate_table(path, rows, samples=("s", "t")):
    """A table of rates with bit/s and mean PESQ, 0.1 above that of one sample and below that of the other."""
    table = pd.DataFrame({"bit_per_s": [rate for rate, _ in rows], "pesq": [pesq for _, pesq in rows]}, dtype=float)
    table = table.assign(stages=range(1, 1 + len(rows)), interval_ms=20, bits=table["bit_per_s"] / 50)
    table = table.reindex(columns=rates.COLUMNS)
    for name, more in zip(samples, (0.1, -0.1), strict=False):
        table[f"pesq_{name}"] = table["pesq"] + more
    table.to_csv(path, index=False)
    return str(path)


def anchors(folder, pesq=2.6):
    """Files of measures of two samples' anchors."""
    paths = []
    for sample, more in (("s", 0.1), ("t", -0.1)):
        kinds = [("original", None, 3.8), ("ideal_y", None, 3.4), ("1200", 1200.0, pesq), ("700C", 700.0, 2.0)]
        rows = [
            {
                **{"sample": sample, "tag": tag, "bit_per_s": rate, "pesq": score + more},
                **{"bits_per_frame": rate and rate / 25, "frame_ms": rate and 40},
            }
            for tag, rate, score in kinds
        ]
        paths.append(folder / f"{sample}.json")
        disk.write_json(paths[-1], {"measures": rows})
    return [str(path) for path in paths]


def study(folder, *tables, **changes):
    rows = [
        {"source": source, "kind": kind, "sizes": "512", "interval_ms": 20, "file": path}
        for source, kind, path in tables
    ]
    return {"kind": "bits", "name": "bits", "features": ["x"], "rows": rows, "anchors": anchors(folder)} | changes


def test_a_line_is_on_the_front_when_none_of_as_few_bits_is_better(tmp_path):
    one = rate_table(tmp_path / "1.csv", [(450, 2.1), (900, 2.5), (1800, 2.9)])
    other = rate_table(tmp_path / "2.csv", [(450, 2.2), (900, 2.3), (1200, 2.55)])
    table = bits.tables(study(tmp_path, ("b", "lbg", one), ("nn4", "beam", other)))["bits"]
    names = ["source", "kind", "entries", *rates.COLUMNS, "pesq_s", "pesq_t", "on_front"]
    assert list(table) == names
    found = [(row.source, row.kind, row.bit_per_s, row.on_front) for row in table.itertuples()]
    assert found[:-2] == [
        *(("b", "lbg", 450, False), ("nn4", "beam", 450, True), ("codec2", "700C", 700, False)),
        *(("nn4", "beam", 900, False), ("b", "lbg", 900, True)),
        *(("nn4", "beam", 1200, False), ("codec2", "1200", 1200, True), ("b", "lbg", 1800, True)),
    ]
    assert [row[:2] for row in found[-2:]] == [("reference", "ideal_y"), ("reference", "original")]
    assert not table["on_front"][-2:].any() and table["bit_per_s"][-2:].isna().all()
    codec2 = table[table["kind"] == "1200"].iloc[0]
    assert (codec2["bits"], codec2["interval_ms"], codec2["pesq_s"]) == (48, 40, 2.7)
    assert codec2["pesq"] == pytest.approx(2.6)


@hypothesis.settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=8))
def test_the_front_is_as_defined_whatever_the_lines(tmp_path_factory, rows):
    path = rate_table(tmp_path_factory.mktemp("any") / "rates.csv", rows, samples=())
    table = bits.tables(study(Path(path).parent, ("b", "lbg", path), anchors=[]))["bits"]
    assert sorted(zip(table["bit_per_s"], table["pesq"], strict=True)) == sorted(rows)
    for row in table.itertuples():
        better = [pesq for rate, pesq in rows if rate <= row.bit_per_s and pesq > row.pesq]
        assert row.on_front == (not better)


@pytest.mark.parametrize("pesq", [2.6, np.nan])
def test_the_table_and_the_figure_follow_from_the_rates_byte_by_byte(tmp_path, pesq):
    lines = rate_table(tmp_path / "1.csv", [(rate, pesq * rate / 900) for rate in (450, 900, 1200)])
    points = [rate_table(tmp_path / f"{i}.csv", [(1200, pesq + i / 10)]) for i in (2, 3)]
    tables = [("b", "lbg", lines), ("loop", "beam", points[0]), ("loop", "lbg", points[1])]
    settings, folders = study(tmp_path, *tables), [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
        studies.make(json.loads(json.dumps(settings)), folder)
    written, again = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert written.keys() == {"README.md", "bits.csv", "bits.png", "bits.svg"} and written == again
    table = pd.read_csv(folders[0] / "bits.csv")
    assert len(table) == 9 and table["on_front"].dtype == bool
    assert unexplained(written["README.md"].decode(), {"bits": table}) == []
    texts = written["bits.svg"].decode()
    # Of single chains what tells them apart, of lines the legend: texts stand in the drawing as comments.
    for text in ("b, lbg", "loop, beam", "loop, lbg"):
        assert (f"<!-- {text} -->" in texts) == (pesq == pesq)
    assert "<!-- 700C -->" in texts and "<!-- Codec 2 -->" in texts


def test_labels_of_points_that_are_close_do_not_overlap(tmp_path):
    with figures.new_figure(4, 3, tmp_path / "x.png") as figure:
        axis = figure.subplots()
        points = np.array([(1 + 0.002 * i, 1.002 - 0.003 * (i % 2)) for i in range(5)])
        axis.plot([0, 1, 2], [0, 1, 2])
        axis.plot(*points.T, "ks")
        figures.label_points(axis, [f"point {i}" for i in range(5)], points)
        figure.draw_without_rendering()
        boxes = [Text.get_window_extent(note) for note in axis.texts]
        assert len(boxes) == 5
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        assert all(axis.bbox.contains(*corner) for box in boxes for corner in (box.min, box.max))
        middle = axis.transData.transform((1, 1))
        assert not any(box.contains(*middle) for box in boxes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rows": []}, "rows: none"),
        ({"rows": [{"source": "b", "kind": "lbg", "file": "f"}]}, "have no 'sizes'"),
        ({"anchors": ["none.json"]}, "none.json: no such file"),
        ({"anchors": None}, "have no 'anchors'"),
    ],
)
def test_a_study_of_what_is_not_there_is_one_line(tmp_path, changes, says):
    settings = study(tmp_path, ("b", "lbg", rate_table(tmp_path / "1.csv", [(450, 2)]))) | changes
    with pytest.raises(InputError, match=says) as error:
        studies.make({name: value for name, value in settings.items() if value is not None}, tmp_path)
    assert "\n" not in str(error.value) and not list(tmp_path.glob("bits*"))


def test_means_over_other_samples_are_not_compared(tmp_path):
    path = rate_table(tmp_path / "1.csv", [(450, 2)], samples=("s", "u"))
    with pytest.raises(InputError, match=r"1\.csv: samples s, u, expected those of the anchors, s, t"):
        bits.tables(study(tmp_path, ("b", "lbg", path)))
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"1\.csv: not a table of mlquant rate"):
        bits.tables(study(tmp_path, ("b", "lbg", path)))
