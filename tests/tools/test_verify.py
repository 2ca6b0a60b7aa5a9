"""`mlquant verify` computes the checksums of all that a provenance.json lists again, and tells what is another."""

import hashlib
import json
import os

import pytest
from support.commands import run

FOLDER = "results/240118_wav"


def digest(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A checkout with an experiment's folder of a wav and a table, and two files behind it; the current folder."""
    monkeypatch.chdir(tmp_path)
    behind = {"speech/ann.raw": b"speech", "results/networks/nn4.3f9a1c2e/weights.safetensors": b"weights"}
    own = {"ann_1_out.wav": b"wav", "README.md": b"table"}
    for path, data in (*behind.items(), *((f"{FOLDER}/{name}", data) for name, data in own.items())):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    write(tmp_path, {path: digest(data) for path, data in behind.items()}, {n: digest(data) for n, data in own.items()})
    return tmp_path


def write(made, files, folder=None):
    record = {"files": files} if folder is None else {"files": files, "folder": folder}
    (made / FOLDER / "provenance.json").write_text(json.dumps(record))


def test_what_is_as_listed_is_counted_and_good(made):
    (made / FOLDER / ".snakemake_timestamp").touch()
    ended = run("verify", FOLDER)
    assert (ended.status, ended.err) == (0, [])
    assert ended.out == "240118_wav: 4 files as listed, 0 changed, 0 missing\n"


def test_what_changed_or_is_missing_is_told_in_a_line_each_with_status_1(made):
    (made / "results/networks/nn4.3f9a1c2e/weights.safetensors").write_bytes(b"other")
    (made / "speech/ann.raw").unlink()
    (made / FOLDER / "README.md").write_bytes(b"edited")
    ended = run("verify", FOLDER)
    assert ended.status == 1
    assert ended.out.splitlines() == [
        "missing  speech/ann.raw",
        f"changed  results/networks/nn4.3f9a1c2e/weights.safetensors (is {digest(b'other')[:8]}..., "
        f"was {digest(b'weights')[:8]}...)",
        f"changed  {FOLDER}/README.md (is {digest(b'edited')[:8]}..., was {digest(b'table')[:8]}...)",
        "240118_wav: 1 files as listed, 2 changed, 1 missing",
    ]


def test_what_is_not_listed_is_mentioned_and_does_no_harm(made):
    (made / FOLDER / "notes").mkdir()
    (made / FOLDER / "notes/my\nnotes.txt").touch()
    (made / FOLDER / "away").symlink_to("/")
    ended = run("verify", FOLDER)
    assert ended.status == 0
    assert ended.out.splitlines() == [
        f"not listed  {FOLDER}/away",
        f"not listed  {FOLDER}/notes/my\\nnotes.txt",
        "240118_wav: 4 files as listed, 0 changed, 0 missing, 2 not listed",
    ]


def test_paths_are_meant_from_where_results_lies_wherever_the_command_runs(made, monkeypatch):
    outside = made.parent / f"{made.name}_outside.raw"
    outside.write_bytes(b"outside")
    write(made, {str(made / "speech/ann.raw"): digest(b"speech"), f"../{outside.name}": digest(b"outside")})
    for folder, name in ((made / "results", "240118_wav"), (made / FOLDER, "."), ("/", made / FOLDER)):
        monkeypatch.chdir(folder)
        ended = run("verify", name)
        assert ended.status == 0 and "2 files as listed, 0 changed, 0 missing, 2 not listed" in ended.out
    # Without a results/ around it, from the current folder.
    (made / FOLDER).rename(made / "alone")
    write_alone = {"speech/ann.raw": digest(b"speech")}
    (made / "alone/provenance.json").write_text(json.dumps({"files": write_alone, "folder": {}}))
    monkeypatch.chdir(made)
    assert "1 files as listed, 0 changed, 0 missing" in run("verify", "alone").out


def test_several_folders_end_in_a_line_each_and_one_difference_is_enough(made):
    other = made / "results/pair_wav"
    other.mkdir()
    (other / "provenance.json").write_text(json.dumps({"files": {"speech/ann.raw": digest(b"another")}}))
    ended = run("verify", FOLDER, other)
    assert ended.status == 1
    assert [line for line in ended.out.splitlines() if line.startswith(("240118_wav: ", "pair_wav: "))] == [
        "240118_wav: 4 files as listed, 0 changed, 0 missing",
        "pair_wav: 0 files as listed, 1 changed, 0 missing",
    ]


def test_nothing_is_written_and_no_pipe_is_waited_for(made):
    os.mkfifo(made / "speech/pipe.raw")
    write(made, {"speech/pipe.raw": digest(b""), "speech": digest(b""), "/dev/zero": digest(b"")})
    before = sorted((path, path.lstat().st_mtime_ns) for path in made.rglob("*"))
    ended = run("verify", FOLDER)
    assert ended.out.splitlines()[:3] == [
        f"changed  {name} (is not a file)" for name in ("speech/pipe.raw", "speech", "/dev/zero")
    ]
    assert sorted((path, path.lstat().st_mtime_ns) for path in made.rglob("*")) == before


GOOD = digest(b"")
REFUSED = [
    ("[]", "holds a list, expected an object"),
    ("{", "not JSON"),
    ('{"stages": {}}', "has no 'files'"),
    ('{"files": []}', "files: found a list, expected checksums by path"),
    ('{"files": {}, "folder": 3}', "folder: found a int, expected checksums by path"),
    ('{"files": {"a": 3}}', "files: a: found 3, expected a SHA-256 of 64 hex digits"),
    ('{"files": {"a": "3f9a1c2e"}}', "files: a: found '3f9a1c2e', expected a SHA-256"),
    (json.dumps({"files": {"": GOOD}}), "files: found '', expected a path"),
    (json.dumps({"files": {"a\0b": GOOD}}), "expected a path"),
    (json.dumps({"files": {"\ud800": GOOD}}), "not JSON"),
]


@pytest.mark.parametrize(("text", "line"), REFUSED, ids=[line for _, line in REFUSED])
def test_a_provenance_of_another_form_is_refused_in_a_line(made, text, line):
    (made / FOLDER / "provenance.json").write_text(text)
    ended = run("verify", FOLDER)
    assert (ended.status, ended.out, len(ended.err)) == (1, "", 1)
    assert ended.err[0].startswith(f"mlquant verify: {FOLDER}/provenance.json: ") and line in ended.err[0]


def test_no_provenance_and_links_are_refused_in_a_line(made):
    (made / "results/link").symlink_to("240118_wav")
    (made / "results/linked").mkdir()
    (made / "results/linked/provenance.json").symlink_to("../240118_wav/provenance.json")
    for name, line in (
        ("speech", "speech/provenance.json: no such file"),
        ("none", "none/provenance.json: no such file"),
        ("results/link", "results/link: is a symbolic link, expected a folder"),
        ("results/linked", "results/linked/provenance.json: is a symbolic link, expected a file"),
    ):
        ended = run("verify", FOLDER, name)
        assert (ended.status, ended.out, ended.err) == (1, "", [f"mlquant verify: {line}"])
