"""A folder with a test set of 48 made-up utterances of 8 speakers, and measures of them, for studies of it."""

import hashlib
import json

import numpy as np
import pandas as pd
from support.commands import fails

from mlquant.measures.columns import OF_SET

SPEAKERS = np.repeat([f"s{i}" for i in range(8)], 6)
NAMES = [f"u{i:02}" for i in range(len(SPEAKERS))]
SHA256 = [hashlib.sha256(name.encode()).hexdigest() for name in NAMES]
OF_SPEAKER = np.random.default_rng(1).normal(0, 0.3, 8).repeat(6)
"""What each utterance [48] has of its speaker."""
ASKED = {"test_set": "mine", "utterances": ["set.csv"], "manifests": ["manifest.csv"]}
"""What the settings of a study say of the test set."""


def write(folder):
    """Write the tables of the test set."""
    table = {"utterance": NAMES, "speaker": SPEAKERS, "sex": "m", "start": np.arange(len(NAMES)) * 800}
    table |= {"samples": 800, "samples_sha256": SHA256, "transcript": "", "files": NAMES}
    pd.DataFrame(table).to_csv(folder / "set.csv", index=False)
    pd.DataFrame({"path": ["a.wav"], "samples_sha256": ["0" * 64]}).to_csv(folder / "manifest.csv", index=False)


def write_measures(folder, number, measures, names=NAMES):
    """Write the measures of a condition, arrays [48] by name, in two shards; the names of the files."""
    files = [f"{number}_{shard}.csv" for shard in (0, 1)]
    table = pd.DataFrame({"utterance": names, "speaker": SPEAKERS, **measures}).reindex(columns=OF_SET)
    for path, part in zip(files, (table[:20], table[20:]), strict=True):
        part.to_csv(folder / path, index=False)
    return files


def refused(folder, settings):
    """The line of `mlquant study` in the folder, which refuses the settings and makes nothing."""
    line = fails("study", json.dumps(settings), "-o", "made", cwd=folder)
    assert not (folder / "made").exists()
    return line
