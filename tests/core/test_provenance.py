"""What is told of a result: versions, the revision with its changes, checksums, and the speech files' own word."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlquant.core import provenance
from mlquant.core.errors import InputError


def git(folder, *words):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    return subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout that the package lies in."""
    package = tmp_path / "checkout/src/mlquant"
    shutil.copytree(Path(provenance.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    git(tmp_path / "checkout", "init", "-q")
    git(tmp_path / "checkout", "add", "-A")
    git(tmp_path / "checkout", "commit", "-qm", "all")
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))
    return tmp_path / "checkout"


def test_a_clean_checkout_is_told_by_its_revision(checkout):
    versions = provenance.versions()
    revision = git(checkout, "rev-parse", "HEAD").strip()
    assert (versions["revision"], versions["dirty"], versions["diff_sha256"]) == (revision, False, None)
    assert versions["cpu"] and versions["cores"] >= 1 and versions["python"].startswith("3.")
    assert all(versions[name] for name in ("numpy", "torch", "snakemake", "faiss-cpu"))


def test_each_change_of_a_checkout_has_a_hash_of_its_own(checkout):
    found = set()
    for name, text in (("src/mlquant/vq.py", "a"), ("src/mlquant/vq.py", "b"), ("new file", "a"), ("new file", "b")):
        (checkout / name).write_text(text)
        versions = provenance.versions()
        assert versions["dirty"] and versions["revision"].endswith("-dirty")
        found.add(versions["diff_sha256"])
    assert len(found) == 4 and None not in found


def test_a_checkout_of_another_owner_has_its_revision(checkout, monkeypatch):
    revision = git(checkout, "rev-parse", "HEAD").strip()
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(subprocess.CalledProcessError):
        git(checkout, "rev-parse", "HEAD")
    assert provenance.versions()["revision"] == revision


def test_the_revision_is_that_of_the_checkout_in_a_hook_of_another_repository_too(checkout, tmp_path, monkeypatch):
    revision = git(checkout, "rev-parse", "HEAD").strip()
    git(tmp_path, "init", "-q", "other")
    for name, path in (("GIT_DIR", ""), ("GIT_WORK_TREE", ".."), ("GIT_INDEX_FILE", "index")):
        monkeypatch.setenv(name, str(tmp_path / "other/.git" / path))
    assert provenance.versions()["revision"] == revision


def test_neither_a_users_tool_for_differences_nor_odd_files_cost_the_revision(checkout, monkeypatch):
    git(checkout, "config", "diff.external", "true")
    (checkout / "src/mlquant/provenance.py").write_text("changed")
    before = provenance.versions()
    assert before["dirty"]
    (checkout / "a link").symlink_to("no such file")
    git(checkout, "init", "-q", "another repository")
    (checkout / "another repository/file").touch()
    after = provenance.versions()
    assert after["revision"] == before["revision"] and after["diff_sha256"] != before["diff_sha256"]


@pytest.mark.parametrize(
    "way, reason",
    [
        ("no repository", "fatal: not a git repository (or any of the parent directories): .git"),
        ("a repository around it", "error: pathspec 'provenance.py' did not match any file(s) known to git"),
        ("a broken repository", "fatal: not a git repository: '{}/.git'"),
        ("no commit", "fatal: Needed a single revision"),
        ("no git", "git is not installed"),
    ],
)
def test_without_a_revision_a_line_says_why(checkout, monkeypatch, capsys, way, reason):
    if way == "no git":
        monkeypatch.setenv("PATH", str(checkout))
    elif way == "a broken repository":
        (checkout / ".git/HEAD").unlink()
    else:
        shutil.rmtree(checkout / ".git")
    if way == "a repository around it":
        git(checkout.parent, "init", "-q")
        git(checkout.parent, "commit", "-qm", "empty", "--allow-empty")
    if way == "no commit":
        git(checkout, "init", "-q")
        git(checkout, "add", "-A")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(checkout.parents[1]))
    versions = provenance.versions()
    assert (versions["revision"], versions["dirty"], versions["diff_sha256"]) == (None, None, None)
    line = f"provenance.json has no git revision: {reason.format(checkout)}"
    assert capsys.readouterr().err == f"{line}\n"
    assert provenance.no_revision() == line


def test_checksums_are_those_of_the_files_by_paths_from_the_root(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/a").write_bytes(b"speech")
    digest = hashlib.sha256(b"speech").hexdigest()
    assert provenance.checksums([tmp_path / "results/a"], tmp_path) == {"results/a": digest}
    assert provenance.checksums([str(tmp_path / "results/a")]) == {str(tmp_path / "results/a"): digest}
    with pytest.raises(InputError, match="b: no such file"):
        provenance.checksums([tmp_path / "results/b"])


def test_a_wav_tells_what_it_is_after_its_samples_and_stays_the_same_speech(tmp_path):
    source, path = tmp_path / "x.0a1b2c3d/speech.wav", tmp_path / "ann_6_vq24.wav"
    source.parent.mkdir()
    speech = np.arange(-500, 500).astype(np.int16)
    soundfile.write(source, speech, 8000, "PCM_16")
    known = {"experiment": {"name": "240118"}, "key": "ffffffff"}
    known["wavs"] = {path.name: {"from": str(source), "index": 6, "tag": "vq24"}}
    for _ in range(2):
        provenance.write_labelled_wav(path, known, path.name)
    told, plain = path.read_bytes(), source.read_bytes()
    assert told[8 : len(plain)] == plain[8:], "the same 44 bytes of header, but for the size, and the same samples"
    assert int.from_bytes(told[4:8], "little") == len(told) - 8
    assert told[len(plain) : len(plain) + 4] == b"LIST"
    with soundfile.SoundFile(path) as file:
        assert (file.title, file.album, file.tracknumber) == (path.name, "240118", "6")
        assert "experiment 240118, index 6, key 0a1b2c3d" in file.comment
        assert np.array_equal(file.read(dtype="int16"), speech)
