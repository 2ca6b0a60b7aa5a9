"""The commands that workflow/original.md sets beside the original's work as printed, one after another."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from support.commands import succeeds
from support.workflow import synthetic_speech

TABLE = Path(__file__).parents[1] / "workflow/original.md"
SMALL = {"-m 4096": "-m 16", '"epochs": 100': '"epochs": 2'}
"""What is made smaller, to be quick."""


@pytest.mark.slow
def test_each_command_beside_the_original_s_works(tmp_path):
    text = TABLE.read_text(encoding="utf-8")
    ours = [line.rpartition(" | ")[2] for line in text.splitlines() if line.startswith("| ")]
    commands = [command for cell in ours for command in re.findall(r"`mlquant ([^`]+)`", cell)]
    assert len(commands) >= 14
    synthetic_speech(4.2, 120, 1).astype("<i2").tofile(tmp_path / "big_dog.raw")
    for command in commands[:2]:  # the features, which networks are trained on below
        succeeds(*shlex.split(command), cwd=tmp_path)
    b, y = (np.fromfile(tmp_path / f"big_dog_{name}.f32", "<f4") for name in ("b", "y"))
    b.tofile(tmp_path / "train_b20_ml.f32"), y.tofile(tmp_path / "train_y80_ml.f32")
    bottleneck = json.dumps({"family": "autoencoder1", "nn": 4, "d": 10, "loss": "sd", "lr": 1e-3, "epochs": 1})
    manifold = json.dumps({"family": "manifold", "nn": 1, "loss": "sd", "lr": 1e-3, "epochs": 1})
    trained = ["--features", "train_b20_ml.f32"]
    succeeds("train", "--settings", bottleneck, *trained, "-o", "nn4_cat1", cwd=tmp_path)
    succeeds("train", "--settings", manifold, *trained, "--target", "train_y80_ml.f32", "-o", "manifold", cwd=tmp_path)
    for command in commands[2:]:
        for large, small in SMALL.items():
            command = command.replace(large, small)
        succeeds(*shlex.split(command), cwd=tmp_path)
    assert (tmp_path / "train_b_hat.f32").stat().st_size == (tmp_path / "train_b20_ml.f32").stat().st_size
    for wav in ("big_dog_5.wav", "big_dog_1_out.wav", "big_dog_8_3200.wav"):
        assert (tmp_path / wav).stat().st_size > 60000
