"""Names, texts and paths of every kind: they work, through a shell too, or are refused in a line that names them."""

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from support.configs import COMPARED, edited
from support.workflow import copy_of_checkout, synthetic_speech

from mlquant.core import errors, figures, tables
from mlquant.core.blocks import quoted
from mlquant.core.disk import read_json
from mlquant.core.errors import InputError
from mlquant.plan import config
from mlquant.plan.plan import Plan

ODD = ["a b", "it's", '"', "$(touch pwned)", "`touch pwned`", "x;y", "&&", "|", "ü", "a.b", "*", "?", "~", "\\", "#%41"]
REFUSED = {
    "a brace": "x{stage}y",
    "a line break": "a\nb",
    "a control character": "a\x1b[31mb",
    "a null": "a\0b",
    "a line separator": "a\u2028b",
    "no UTF-8": "a\udcffb",
    "300 characters": "n" * 300,
}
NAMES = {
    "sources.{}": {"package": "p"},
    "samples.{}": {"source": "prompts", "file": "x.raw"},
    "corpora.{}": {"parts": {"p": {"source": "prompts"}}},
    "corpora.voices.parts.{}": {"source": "prompts"},
    "networks.{}": {"corpus": "voices", "family": "manifold", "nn": 1, "lr": 0.1, "epochs": 1},
    "quantisers.{}": {"network": "nn4", "stages": [{"size": 16}]},
    "experiments.{}": {"samples": ["ann"], "outputs": {1: {"tag": "out", "process": "original"}}},
    "sweeps.{}": {"base": {}, "rows": {"r": {"corpus": "voices", "family": "manifold", "nn": 1, "lr": 1, "epochs": 1}}},
    "sweeps.rates.rows.{}": {},
    "studies.{}": {"kind": "latents", "network": "nn4"},
}
PATHS = ("speech_dir", "experiments.240118.published", "corpora.voices.parts.own")
LINES = (
    "experiments.240118.title",
    "sweeps.rates.title",
    "studies.demo.title",
    "experiments.240118.outputs.1.processing",
    "experiments.240118.outputs.1.shows",
)
SAFE = re.compile(r"results(/[A-Za-z0-9][A-Za-z0-9_.+-]*){2,}")


def base():
    raw = edited(base=COMPARED)
    raw["sources"]["prompts"] = {"package": "some-prompts"}
    raw["samples"]["may"] = {"source": "prompts", "file": "may.raw"}
    return raw


def changed(place, value):
    """The configuration of test_config with a value at a dotted place, whose last part may be any text."""
    parent, _, last = place.rpartition(".")
    raw = base()
    block = raw
    for part in parent.split(".") if parent else ():
        block = block[int(part) if part.isdigit() and len(part) < 4 else part]
    block[last] = value
    return raw


def named(place, name):
    """The same with an entry of a name."""
    raw = changed(place.format("NAME"), NAMES[place])
    block = functools.reduce(lambda block, part: block[part], place.split(".")[:-1], raw)
    block[name] = block.pop("NAME")
    return raw


def refusal(raw):
    """The line that refuses a configuration."""
    with pytest.raises(InputError) as caught:
        config.load(raw)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("config: ") and line.isprintable()
    return line


# --- names -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("place", NAMES)
@pytest.mark.parametrize("name", [*ODD, *REFUSED.values(), "-o", "..", "a/b", ".hidden", "", "a\n", "<img src=x>"])
def test_a_name_that_is_no_plain_word_is_refused_by_name(place, name):
    line = refusal(named(place, name))
    assert place.split(".")[0] in line or "the key" in line
    assert quoted(name) in line


@pytest.mark.parametrize("place", NAMES)
@settings(max_examples=25)
@given(name=st.one_of(st.text(max_size=70), st.from_regex(r"[A-Za-z0-9_.-]{1,70}", fullmatch=True)))
def test_whatever_name_is_taken_makes_paths_of_plain_words(place, name):
    try:
        loaded = config.load(named(place, name))
    except InputError as error:
        assert len(str(error).splitlines()) == 1
        return
    for stage in Plan(loaded).nodes.values():
        assert SAFE.fullmatch(stage.folder), stage.folder
        assert len(stage.folder.split("/")[-1]) <= 200


@pytest.mark.parametrize("sample", [*ODD, "-o", "..", "a/b", "n" * 300])
def test_a_sample_of_an_odd_name_is_refused_though_its_file_is_there(sample):
    Path("speech").mkdir()
    if len(sample) < 100 and "/" not in sample:
        Path("speech", f"{sample}.wav").touch()
    assert quoted(sample) in refusal(changed("experiments.240118.samples", ["ann", sample]))


@pytest.mark.parametrize("tag", [*ODD[:8], "-o", "..", "a/b", "n" * 300])
def test_an_odd_tag_is_refused_by_name(tag):
    assert quoted(tag) in refusal(changed("experiments.240118.outputs.1.tag", tag))


def test_an_index_that_no_file_name_holds_is_refused():
    output = {"tag": "out", "process": "original"}
    for index in (10**300, 10000, -1):
        line = refusal(changed("experiments.240118.outputs", {index: output}))
        assert f"240118.outputs.{str(index)[:100]}: found the key" in line


def test_two_files_of_one_sample_are_refused_by_name():
    Path("speech").mkdir()
    for name in ("ann.mp3", "ann.wav", "unused.raw", "unused.wav"):
        Path("speech", name).touch()
    line = refusal(base())
    assert line == "config: sample 'ann': found speech/ann.mp3 and speech/ann.wav, expected one file of that name"
    Path("speech/ann.mp3").unlink()
    config.load(base())


# --- texts and paths -------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", LINES)
def test_a_text_is_any_line_and_line_breaks_are_spaces(place):
    text = "".join(ODD) + " {stage} <img src=x onerror=alert(1)> </script> $\\frac{"
    for written, expected in ((text, text), ("two\nlines\u2028and\tmore\n", "two lines and more")):
        loaded = config.load(changed(place, written)).model_dump()
        for part in place.split("."):
            loaded = loaded[int(part) if part.isdigit() and len(part) < 4 else part]
        assert loaded == expected
    for bad in ("a\x1b[31mb", "a\0b", "n" * 1001):
        assert place.rpartition(".")[2] in refusal(changed(place, bad))


def path_value(place, path):
    return {"files": path} if place.endswith("own") else path


@pytest.mark.parametrize("place", PATHS)
@pytest.mark.parametrize("path", [*REFUSED.values(), "-o", "", " "])
def test_a_path_that_cannot_work_is_refused_by_name(place, path):
    line = refusal(changed(place, path_value(place, path)))
    assert place in line
    if "\udcff" not in path:
        assert quoted(path) in line


@pytest.mark.parametrize("key", ["b", "y"])
def test_a_features_file_whose_path_cannot_work_is_refused_by_name(key):
    for path in ("-o", "x{stage}.f32"):
        part = {"b": "b.f32", "y": "y.f32", key: path}
        assert f"{key}: found {path!r}" in refusal(changed("corpora.voices.parts.own", part))


def test_a_corpus_file_whose_path_cannot_work_is_refused_by_name():
    Path("voices").mkdir()
    for name in ("{brace}.wav", "a\nb.wav", "a\udcff.wav"):
        path = Path("voices", name)
        path.touch()
        assert f"own.files: found {str(path)!r}" in refusal(changed("corpora.voices.parts.own", {"files": "voices"}))
        path.unlink()


# --- the shell -------------------------------------------------------------------------------------------

HOSTILE = 'it\'s "$(touch pwned)" `touch pwned`; touch pwned & {stage} * ~ \\ ü <img src=x onerror=alert(1)> | #'
URL = {"url": f"https://example.org/{HOSTILE}", "sha256": "0" * 64}
FOLDER = 'it\'s a "$(touch pwned)"; `touch pwned` & #1 %41 ü'
FILES = ("a b", "it's", "$(touch pwned)", "x;y", "-o", "ü", "a.b", "`touch pwned`", "*")
OVERLAY = {
    "speech_dir": "../my \"speech\" $(touch pwned)",
    "sources": {"odd": {"package": HOSTILE, "version": HOSTILE, "urls": [URL]}},
    "samples": {
        "dan": {"source": "odd", "file": f"-x{HOSTILE}"},
        "eve": URL | {"optional": True},
    },
    "corpora": {
        "few": {"parts": {"own": {"files": "../voi'ces $(touch pwned)"}}},
        "odd": {"parts": {"part": {"source": "odd", "include": [HOSTILE], "exclude": [HOSTILE]},
                          "ready": {"b": "../$(touch pwned) b.f32", "y": "../$(touch pwned) y.f32"},
                          "unseen": {"b": "../`touch pwned` b.f32", "y": "../`touch pwned` y.f32", "held_out": True},
                          "readers": {"source": "odd", "speakers": f"({re.escape(HOSTILE)})", "held_out_speakers": 1}}},
    },
    "networks": {"manifold": {"corpus": "few", "epochs": 1, "batch": 32}},
    "sweeps": {"odd": {"title": HOSTILE, "rows": {"r": {
        "corpus": "odd", "family": "manifold", "nn": 1, "lr": 0.1, "epochs": 1}}}},
    "studies": {},
    "experiments": {
        "odd": {"title": HOSTILE, "samples": ["ann"], "published": "../pub'lished $(touch pwned)", "outputs": {
            1: {"tag": "out", "process": "original", "processing": HOSTILE, "shows": HOSTILE},
            3: {"tag": "a.b+c", "process": "vocoder", "networks": ["manifold"], "processing": HOSTILE},
        }},
        "not_made": {"title": "", "samples": ["dan", "eve"], "outputs": {
            1: {"tag": "out", "process": "original"}}},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A checkout in a folder of an odd name, with speech, features and texts so named."""
    base = tmp_path_factory.mktemp("names")
    checkout = copy_of_checkout(base / FOLDER, OVERLAY)
    corpus = base / "voi'ces $(touch pwned)"
    (checkout.folder / "speech").rename(base / 'my "speech" $(touch pwned)')
    (checkout.folder / "voices").rename(corpus)
    for i, name in enumerate(FILES):
        soundfile.write(corpus / f"{name}.wav", synthetic_speech(1.0, 100 + 10 * i, i), 8000, "PCM_16", format="WAV")
    for name, width in (("b", 22), ("y", 79)):
        for odd_name in ("$(touch pwned)", "`touch pwned`"):
            np.ones((4, width), "<f4").tofile(base / f"{odd_name} {name}.f32")
    (base / "pub'lished $(touch pwned)").mkdir()
    wav = base / "pub'lished $(touch pwned)" / "ann_1_out.wav"
    soundfile.write(wav, synthetic_speech(1.0, 100, 1), 8000, "PCM_16", format="WAV")
    return checkout


def pwned(checkout):
    """Files that only a shell that ran a name would have made."""
    return [path for path in checkout.folder.parent.rglob("pwned*") if path.name == "pwned"]


@pytest.mark.slow
def test_a_run_in_an_odd_folder_on_odd_speech_gives_the_same_as_any(odd):
    done = odd.run("--cores", 2, "results/odd_wav")
    assert done.status == 0, done.text
    assert "Traceback" not in done.text and not pwned(odd)
    folder = odd.folder / "results/odd_wav"
    assert {"ann_1_out.wav", "ann_3_a.b+c.wav", "manifold_losses.png"} <= {path.name for path in folder.iterdir()}
    provenance = read_json(folder / "provenance.json")
    assert provenance["experiment"]["title"] == HOSTILE
    assert provenance["experiment"]["outputs"][0]["processing"] == HOSTILE
    (manifest,) = odd.files("results/corpora/few_own.*/manifest.csv")
    used = {Path(path).name for path in pd.read_csv(odd.folder / manifest)["path"]}
    assert used == {f"{name}.wav" for name in (*FILES, "kristoff", "mmt1", "a tone")}
    measures = pd.read_csv(folder / "measures.csv")
    assert measures.loc[measures["index"] == 1, "published_stoi"].notna().all()
    assert not odd.run("-n", "results/odd_wav").rules, "and finds it all there"


@pytest.mark.slow
def test_every_value_reaches_its_command_as_it_stands(odd, tmp_path):
    """The commands of a dry run, given to a shell in which each only writes down its arguments."""
    done = odd.run("-n", "-p", "results/odd_wav", "results/not_made_wav", "results/sweeps/odd", "-F")
    assert done.status == 0, done.text
    commands = re.findall(r"^\s*(?:Shell command: )?(mlquant .*)$", done.text, re.MULTILINE)
    stub = tmp_path / "bin" / "mlquant"
    stub.parent.mkdir()
    stub.write_text(
        f"#!{sys.executable}\nimport json, sys\nopen('arguments', 'a').write(json.dumps(sys.argv[1:]) + '\\n')"
    )
    stub.chmod(0o755)
    for command in dict.fromkeys(commands):
        script = re.sub(r"> ?results/logs/.*$", "", command)
        environment = os.environ | {"PATH": f"{stub.parent}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, check=True, stdout=subprocess.DEVNULL)
    calls = [json.loads(line) for line in (tmp_path / "arguments").read_text(encoding="utf-8").splitlines()]
    assert len(calls) == len(dict.fromkeys(commands)) > 10
    assert not list(tmp_path.rglob("pwned"))
    of = {name: [call for call in calls if call[0] == name] for name in {call[0] for call in calls}}
    sources = [read_json(odd.folder / call[1]) for call in of["fetch"]]
    assert {source.get("package") for source in sources} == {HOSTILE, None}
    assert {source["urls"][0]["url"] for source in sources} == {f"https://example.org/{HOSTILE}"}
    assert any(f"--member=-x{HOSTILE}" in call for call in of["prepare-sample"])
    assert any('../my "speech" $(touch pwned)/ann.raw' in call for call in of["prepare-sample"])
    trained = [call for call in of["train"] if "../$(touch pwned) b.f32" in call]
    assert trained and all("../$(touch pwned) y.f32" in call for call in trained)
    for option, letter in (("--held-out", "b"), ("--held-out-target", "y")):
        held_out = trained[0][trained[0].index(option) + 1 :][:2]
        assert f"../`touch pwned` {letter}.f32" in held_out
        assert any(
            re.fullmatch(rf"results/features/odd_readers_held_out\.\w+/{letter}\.f32", path) for path in held_out
        )
    chosen = [
        read_json(odd.folder / word.removeprefix("--settings="))
        for call in of["prepare-corpus"]
        for word in call
        if word.startswith("--settings=")
    ]
    assert [HOSTILE] in [settings["include"] for settings in chosen]
    assert [settings.get("held_out") for settings in chosen if settings["speakers"]].count(True) == 1
    assert {settings["speakers"] for settings in chosen} == {None, f"({re.escape(HOSTILE)})"}
    assert "../voi'ces $(touch pwned)" in [settings.get("files") for settings in chosen]
    assert read_json(odd.folder / of["sweep"][0][1])["title"] == HOSTILE


# --- tables and figures ----------------------------------------------------------------------------------


def test_names_that_look_like_numbers_or_nothing_stay_names(tmp_path):
    (tmp_path / "t.csv").write_text("sample,tag,index,value\nNA,007,1,\nnull,1e3,2,0.5\n")
    table = tables.read_table(tmp_path / "t.csv", "sample")
    assert table["sample"].to_list() == ["NA", "null"] and table["tag"].to_list() == ["007", "1e3"]
    assert table["value"].isna().to_list() == [True, False] and table["index"].to_list() == [1, 2]


def test_a_title_of_dollars_and_markup_is_drawn_as_it_stands(tmp_path):
    title = "$\\frac{ 5 $ <script>alert(1)</script> & ]]> -->"
    (tmp_path / "l.csv").write_text("variant,epoch,loss\n$\\frac{,1,2\n_b,1,1\n")
    figures.plot_curves(tmp_path / "l.csv", "loss", "loss", title, tmp_path / "l")
    drawn = (tmp_path / "l.svg").read_text(encoding="utf-8")
    assert "<script" not in drawn
    columns = "epoch,loss,sd_dB2,held_out_loss,held_out_sd_dB2\n1,1,1,1,1\n"
    (tmp_path / "losses.csv").write_text(columns)
    figures.plot_losses(tmp_path / "losses.csv", title, tmp_path / "losses.png")
    assert (tmp_path / "losses.png").stat().st_size > 1000


def test_markdown_shows_text_as_it_stands():
    assert errors.markdown("a|b `c`\n<img> ![x](y) \\ $z_1$") == r"a\|b \`c\` \<img> !\[x](y) \\ $z_1$"
