"""Results in a storage: jobs then see copies of the files that their rules declare, and no others."""

import importlib.util
import json
import shutil

import pytest
from support.workflow import OVERLAY, TABLES, copy_of_checkout

from mlquant.plan.config import merged

TARGETS = ("all_experiments", "results/compare/240118_vs_pair", "results/sweeps/tiny", "results/studies/tiny")
TINY = {
    "sweeps": {
        "tiny": {
            "base": {"corpus": "few", "family": "autoencoder1", "nn": 4, "d": 4, "lr": 1e-3, "epochs": 1, "thresh": 10},
            "rows": {"one": {}, "two": {"d": 5}},
        }
    },
    "studies": {"tiny": {"kind": "mbest", "quantiser": "nn4_vq", "stages": [2], "mbest": [1, 2]}},
}


@pytest.mark.slow
def test_everything_is_made_in_a_storage_with_the_bytes_of_a_run_without(copied, tmp_path):
    if not (importlib.util.find_spec("snakemake_storage_plugin_fs") and shutil.which("rsync")):
        pytest.skip("needs the package snakemake-storage-plugin-fs and rsync")
    here, there = copied, copy_of_checkout(tmp_path / "there", merged(OVERLAY, TINY))
    shutil.copy(there.folder / "config.yaml", here.folder)
    storage = ("--default-storage-provider", "fs", "--default-storage-prefix", tmp_path / "store")
    for checkout, options in ((here, ()), (there, storage)):
        done = checkout.run("--cores", 2, *TARGETS, *options)
        assert done.status == 0, done.text
    assert not list(there.folder.glob("results/*/"))
    folders = ("results/240118_wav", "results/pair_wav", *TARGETS[1:])
    for folder in folders:
        names = {path.name for path in (here.folder / folder).iterdir()} - {".snakemake_timestamp"}
        assert names == {path.name for path in (tmp_path / "store" / folder).iterdir()} - {".snakemake_timestamp"}
        # The page and the provenance tell of times, versions and runs; a sweep of how long its trainings took.
        told = {"index.html", "provenance.json"}
        if folder == "results/sweeps/tiny":
            told |= {"README.md", "summary.csv"}
        for name in names - told:
            ours, theirs = (root / folder / name for root in (here.folder, tmp_path / "store"))
            assert ours.read_bytes() == theirs.read_bytes(), f"{folder}/{name}"
    ours, theirs = (
        json.loads((root / "results/240118_wav/provenance.json").read_text(encoding="utf-8"))
        for root in (here.folder, tmp_path / "store")
    )
    for name in ("wavs", "stages", "key", "files"):
        different = {key for key in ours[name] if ours[name][key] != theirs[name].get(key)} if name != "key" else set()
        # A report of a training tells how long it took.
        assert {key for key in different if not key.endswith(("training.json", "manifest.json"))} == set(), name
    assert set(TABLES) <= ours["folder"].keys() | {"provenance.json"}
