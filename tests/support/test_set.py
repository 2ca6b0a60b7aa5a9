"""A test set of made-up measures and speech, in shards, for folders of tables as of `mlquant tabulate`."""

import csv
import io

import numpy as np
import pandas as pd

from mlquant.core import disk, records
from mlquant.experiments import sets
from mlquant.measures.columns import OF_SET
from mlquant.speech.sets import COLUMNS

SPEAKERS = {"0061": "m", "61": "f", "237": "m", "908": "f", "1089": "m", "1188": "f"}
"""Names of digits, as those of LibriSpeech: two of them are one number."""


def utterances(each=4, frames=40, seed=1):
    """(name, speaker, sex, frames) of some utterances of each speaker; two in three are of other lengths."""
    return [
        (f"{speaker}_{i}", speaker, sex, frames + 3 * ((i + seed) % 3))
        for speaker, sex in SPEAKERS.items()
        for i in range(each)
    ]


def add(tables, name="mine", shifts=None, shards=2, each=4, frames=40, seed=1):
    """Measure the outputs of a folder of tables on a test set; returns the table of utterances.

    PESQ of an output is that of the utterance plus its entry in `shifts`, STOI a third of it, SD 10 less PESQ.
    """
    known = disk.read_json(tables / "provenance.json")
    outputs = known["experiment"]["outputs"]
    shifts = shifts or {output["index"]: -0.1 * i for i, output in enumerate(outputs)}
    every, rng, made = utterances(each, frames, seed), np.random.default_rng(seed), tables.parent / f"{name}_{shards}"
    base = {one[0]: 3 + rng.normal(0, 0.3) for one in every}
    in_set = {"utterances": [], "speech": [], "outputs": [{"files": [], "speech": []} for _ in outputs]}
    for shard in range(shards):
        mine, start, rows = every[shard::shards], 0, []
        for one, speaker, sex, count in mine:
            rows.append([one, speaker, sex, start, 80 * count - 7, f"{one} {seed}", "file"])
            start += 80 * count - 7
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
        disk.write_text(made / f"{shard}/utterances.csv", text.getvalue())
        records.write_speech(made / f"{shard}/speech.raw", rng.integers(-9000, 9000, start).astype(np.int16))
        in_set["utterances"].append(f"{made}/{shard}/utterances.csv")
        in_set["speech"].append(f"{made}/{shard}/speech.raw")
        for output, files in zip(outputs, in_set["outputs"], strict=True):
            folder, shift = made / f"{shard}/{output['index']}_{output['tag']}", shifts[output["index"]]
            names, speakers, sexes, counts = zip(*mine, strict=True)
            noise = 0.01 * np.random.default_rng([seed, output["index"], shard, 3]).normal(size=len(mine))
            pesq = np.array([base[one] + shift for one in names]) + noise
            table = {"utterance": names, "speaker": speakers, "sex": sexes, "frames": counts}
            table = pd.DataFrame(table | {"sd_dB2": 10 - pesq, "pesq": pesq, "stoi": pesq / 3}).reindex(columns=OF_SET)
            disk.write_text(folder / "measures.csv", table.to_csv(index=False))
            coded = rng.integers(-9000, 9000, 80 * sum(counts)).astype(np.int16)
            records.write_speech(folder / "speech.raw", coded)
            files["files"].append(f"{folder}/measures.csv")
            files["speech"].append(f"{folder}/speech.raw")
    known["experiment"] |= {"test_set": name, "measured_in_set": in_set}
    known["test_set"] = sets.about(known["experiment"], None)
    disk.write_json(tables / "provenance.json", known)
    found = sets.tables(known["experiment"], None)
    for table, rows in found.items():
        disk.write_text(tables / f"{table}.csv", rows.to_csv(index=False, float_format="%.6g"))
    return found["utterances"]
