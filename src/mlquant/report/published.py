"""What the original published, and ours beside it, by whether the author's networks were trained on the speech."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from mlquant.core.tables import laid_out
from mlquant.measures.columns import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))
"""The original's figures, where each is from, and which samples are inside and outside the author's database."""

_SOURCE, _IDEAL_Y = ("pesq", "stoi", "estoi", "lsd_dB"), ("ideal_y_pesq", "ideal_y_lsd_dB")
_CAPTIONS = dict.fromkeys(_SOURCE, "against the source speech") | dict.fromkeys(
    _IDEAL_Y, "against the speech of ideal y"
)

_AS_FAR = 0.2  # dB of LSD that count as no difference; half the SD, as of index 3 beside index 5, makes 0.6 dB


def known_of(experiment: str) -> dict:
    """Return what the original published of an experiment, or of the one that it repeats; {} for nothing."""
    return PUBLISHED["experiments"].get(PUBLISHED["repeated"].get(experiment, experiment), {})


def compared(settings: dict, measures: pd.DataFrame) -> dict:
    """Return facts and tables of ours beside the published, for the outputs that networks make; {} where none are.

    `settings` are an experiment's, `measures` the rows of its measures.csv. The published figures are those that the
    run measured, where it did; else those of published.json. A sample counts where both are there, for every index.
    """
    known, names = known_of(settings["name"]), (*_SOURCE, *_IDEAL_Y)
    wavs = known.get("wavs", {})
    made = [output["index"] for output in settings["outputs"] if output["process"] == "vocoder"]
    rows = measures[measures["index"].isin(made)].drop_duplicates(["sample", "index"])
    theirs = [f"published_{name}" for name in names]
    rows = rows.reindex(columns=[*dict.fromkeys(("sample", "sex", "index", "tag", *names, *theirs))])
    source = f"measured in this run, of the wavs in {settings.get('published')}"
    if not rows[theirs].notna().any(axis=None):
        source = known.get("wavs_source", "")
        for name in names:
            keys = zip(rows["index"], rows["tag"], rows["sample"], strict=True)
            rows[f"published_{name}"] = [wavs.get(f"{i}_{tag}", {}).get(name, {}).get(at) for i, tag, at in keys]
    rows = rows.astype(dict.fromkeys((*names, *theirs), float))
    pairs = {name: pair for name in names if (pair := _pair(rows, name))}
    if not pairs:
        return {}
    tables = {name: _table(name, pair, source) for name, pair in pairs.items()}
    first = next(iter(pairs.values()))[0]
    groups = _groups(first.index)
    sexes = rows.drop_duplicates("sample").set_index("sample")["sex"].reindex(groups.get("outside", []))
    return {
        "inside": groups.get("inside", []),
        "outside": groups.get("outside", []),
        "unknown": groups.get("unknown", []),
        "database": PUBLISHED["database"]["source"],
        "untrained": [output["index"] for output in settings["outputs"] if output["process"] != "vocoder"],
        "differences": _differences(pairs["pesq"], groups.get("outside", [])) if "pesq" in pairs else [],
        "one_sex": {"m": "male", "f": "female"}.get(sexes.iloc[0]) if sexes.nunique(dropna=False) == 1 else None,
        "of_source": [tables[name] for name in _SOURCE[:1] if name in tables],
        "of_ideal_y": [tables[name] for name in _IDEAL_Y if name in tables],
        "others": [tables[name] for name in _SOURCE[1:] if name in tables],
        "sd": [one for place in known.get("sd_dB2", {}) if (one := _sd(int(place), known, measures, pairs))],
    }


def _pair(rows: pd.DataFrame, name: str) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Return a measure of ours and of the published, each by sample and index; None where no sample has both."""
    ours, theirs = (rows.pivot(index="sample", columns="index", values=one) for one in (name, f"published_{name}"))
    theirs = theirs.dropna(axis="columns", how="all")
    ours = ours[theirs.columns]
    both = (ours.notna() & theirs.notna()).all(axis="columns")
    order = [sample for sample in dict.fromkeys(rows["sample"]) if both[sample]]
    return (ours.loc[order], theirs.loc[order]) if order and len(theirs.columns) else None


def _groups(samples: pd.Index) -> dict[str, list[str]]:
    """Return the samples outside the author's database, those inside, and those of which neither is known."""
    database = PUBLISHED["database"]
    outside, inside = ([name for name in samples if name in database[group]] for group in ("outside", "inside"))
    groups = {"outside": outside, "inside": inside}
    groups["unknown"] = [name for name in samples if name not in (*outside, *inside)]
    return {group: members for group, members in groups.items() if members}


def _table(name: str, pair: tuple[pd.DataFrame, pd.DataFrame], source: str) -> dict:
    """Return a table of a measure: a row of published means and one of ours, for each group of samples and for all."""
    ours, theirs = pair
    groups = _groups(ours.index)
    labels = {"unknown": "not known"}
    if len(groups) > 1:
        groups["all"] = [*ours.index]
    rows = [(group, whose, table) for group in groups for whose, table in (("published", theirs), ("ours", ours))]
    heads = [f"{labels.get(group, group)} (n = {len(groups[group])})" for group, *_ in rows]
    columns = [("author's database", heads, "s"), ("whose", [whose for _, whose, _ in rows], "s")]
    means = [table.loc[groups[group]].mean() for group, _, table in rows]
    columns += [(f"index {index}", [row[index] for row in means], COLUMNS[name].format) for index in ours.columns]
    marked = [whose == "published" for _, whose, _ in rows]
    caption = f"{COLUMNS[name.removeprefix('ideal_y_')].heading} {_CAPTIONS[name]}"
    return laid_out(caption, *columns, source=source, marked=marked) | {"pairs": True}


def _differences(pair: tuple[pd.DataFrame, pd.DataFrame], samples: list[str]) -> list[dict]:
    """Return ours less the published for each index, the mean over samples."""
    if not samples:
        return []
    ours, theirs = (table.loc[samples].mean() for table in pair)
    return [{"index": index, "mean": ours[index] - theirs[index]} for index in ours.index]


def _sd(index: int, known: dict, measures: pd.DataFrame, pairs: dict) -> dict | None:
    """Return the SD of an index by sample beside the published one, and what shows that the two do not compare."""
    rows = measures[measures["index"] == index]
    published = known["sd_dB2"][str(index)]
    rows = rows[rows["sd_dB2"].notna()]
    both = rows[rows["sample"].isin(published)]
    if both.empty:
        return None
    table = laid_out(
        f"SD (dB²) of index {index} by sample; the published figures do not compare",
        ("sample", rows["sample"], "s"),
        ("all frames", rows["sd_dB2"], ".2f"),
        ("voiced frames", rows["sd_voiced_dB2"], ".2f"),
        ("published", [published.get(name) for name in rows["sample"]], ".2f"),
        source=known["sd_source"],
    )
    at_ideal_y = {
        name: {whose: one[index].mean() for whose, one in zip(("ours", "published"), pairs[name], strict=True)}
        for name in _IDEAL_Y
        if name in pairs and index in pairs[name][0]
    }
    ours, theirs = both["sd_dB2"], [published[name] for name in both["sample"]]
    facts = {"ours": (ours.min(), ours.max()), "published": (min(theirs), max(theirs)), "ideal_y": at_ideal_y}
    lsd = at_ideal_y.get("ideal_y_lsd_dB")
    facts["as_far"] = lsd is not None and abs(lsd["ours"] - lsd["published"]) < _AS_FAR
    return {"index": index, "table": table, **facts, "note": known["sd_note"]}
