"""Of ten samples of which one is broken, nine are finished, and the tenth's error is told with its log."""

import csv
import re

import numpy as np
import pytest
import soundfile
from support.workflow import copy_of_checkout, synthetic_speech

from mlquant.core.disk import read_json

SAMPLES = [f"s{i}" for i in range(10)]
BROKEN = "s3"
OUTPUTS = {
    1: {"tag": "out", "process": "original"},
    8: {"tag": "1300", "process": "codec2", "mode": 1300},
}
OVERLAY = {"experiments": {"ten": {"title": "", "samples": SAMPLES, "outputs": OUTPUTS}}}


@pytest.mark.slow
def test_one_broken_sample_of_ten_leaves_nine_finished_and_says_where_to_look(tmp_path):
    checkout = copy_of_checkout(tmp_path / "ten", OVERLAY)
    for i, name in enumerate(SAMPLES):
        speech = synthetic_speech(1.0, 100 + 10 * i, i) / 32768
        if name == BROKEN:
            speech[4000] = np.nan
        soundfile.write(checkout.folder / "speech" / f"{name}.wav", speech, 8000, "FLOAT")
    done = checkout.run("--cores", 2)
    assert done.status == 1
    assert "Traceback" not in done.text
    error = f"mlquant prepare-sample: speech/{BROKEN}.wav: holds NaN or infinity, expected finite samples"
    assert [line.strip() for line in done.text.splitlines()].count(error) == 1, done.text
    log = re.search(rf"^.*(results/logs/samples/{BROKEN}\.[0-9a-f]{{8}}\.log).*$", done.text, re.MULTILINE)[1]
    assert (checkout.folder / log).read_text(encoding="utf-8").splitlines() == [error]
    assert done.text.count("Error in rule") == 1, "what needs the sample is not tried"

    measured = checkout.files("results/measures/ten_*/measured.json")
    records = [read_json(checkout.folder / path) for path in measured]
    assert sorted(record["sample"] for record in records) == sorted(set(SAMPLES) - {BROKEN})
    assert all([row["index"] for row in record["measures"]] == [1, 8] for record in records)
    assert len(checkout.files("results/anchors/s?.*/1300.wav")) == 9
    assert not (checkout.folder / "results/ten_wav").exists()

    soundfile.write(checkout.folder / "speech" / f"{BROKEN}.wav", synthetic_speech(1.0, 130, 3), 8000, "PCM_16")
    again = checkout.run("--cores", 2)
    assert again.status == 0, again.text
    assert again.rules["measure"] == 2, "its outputs and its anchors, and nothing of the others"
    with open(checkout.folder / "results/ten_wav/measures.csv", encoding="utf-8", newline="") as file:
        assert [row["sample"] for row in csv.DictReader(file)][::2] == SAMPLES
