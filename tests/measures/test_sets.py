"""Test sets: which utterances are taken, that each gets what its file gets as a sample, and what the tables say."""

import csv
import json
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.commands import run, succeeds
from support.workflow import ROOT, synthetic_speech

from mlquant.core import disk, records
from mlquant.core.errors import InputError
from mlquant.core.intervals import speaker_interval
from mlquant.experiments import sets
from mlquant.measures import measures
from mlquant.speech.corpus import refuse_samples
from mlquant.speech.settings import by_seed, shard_of, short_names

NAMES = ("ann_1", "ann_2", "bob_1", "bob_2", "cid_1")
FILES = {name: synthetic_speech(0.9 + 0.13 * i, 110 + 20 * i, i) for i, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five files of three speakers, small networks, a codebook, and the files of one shard with all of them."""
    folder = tmp_path_factory.mktemp("sets")
    (folder / "own").mkdir()
    for name, speech in FILES.items():
        soundfile.write(folder / f"own/{name}.wav", speech, 8000, "PCM_16")
    prepare(
        folder,
        "set",
        files=str(folder / "own"),
        speakers="/([a-z]+)_[0-9]+.wav",
        sex={"ann": "f", "bob": "m"},
    )
    words = ["set.raw", "set.csv", "-o", "set_model.bin", "--b", "set_b.f32", "--y", "set_y.f32"]
    succeeds("analyse-set", *words, cwd=folder)
    net = {"family": "autoencoder1", "nn": 4, "d": 4, "loss": "sd", "lr": 2e-3, "epochs": 1}
    succeeds("train", "--settings", json.dumps(net), "--features", "set_b.f32", "-o", "net", cwd=folder)
    manifold = {"family": "manifold", "nn": 1, "loss": "sd", "lr": 1e-3, "epochs": 1}
    trained = ["--features", "set_b.f32", "--target", "set_y.f32"]
    succeeds("train", "--settings", json.dumps(manifold), *trained, "-o", "manifold", cwd=folder)
    succeeds("encode", "net/weights.safetensors", "set_b.f32", "-o", "l.f32", cwd=folder)
    succeeds("vq-train", "l.f32", "-k", 4, "-m", 16, "-o", "vq.f32", cwd=folder)
    succeeds("vq-train", "l.f32", "-k", 4, "-m", 8, "--seed", 2, "-o", "vq2.f32", cwd=folder)
    return folder


def words_of(folder, name, settings):
    """The words of prepare-set for a set of one part, or of `parts`."""
    of_set = {key: settings.pop(key) for key in ("seed", "shard", "shards", "parts") if key in settings}
    given = json.dumps({"parts": {"mine": settings}} | of_set)
    return ["prepare-set", "--settings", given, "-o", folder / f"{name}.raw", "--utterances", folder / f"{name}.csv"]


def prepare(folder, name, **settings):
    return succeeds(*words_of(folder, name, settings), cwd=folder)


def rows_of(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_each_file_is_an_utterance_with_its_speaker_and_the_samples_of_a_sample(folder):
    rows, speech = rows_of(folder / "set.csv"), records.read_speech(folder / "set.raw")
    assert sorted(row["utterance"] for row in rows) == sorted(NAMES)
    assert {(row["speaker"], row["sex"]) for row in rows} == {("ann", "f"), ("bob", "m"), ("cid", "")}
    at = 0
    for row in rows:
        name = row["utterance"]
        succeeds("prepare-sample", folder / f"own/{name}.wav", "-o", folder / f"{name}.raw")
        assert int(row["start"]) == at
        at += int(row["samples"])
        np.testing.assert_array_equal(speech[int(row["start"]) : at], records.read_speech(folder / f"{name}.raw"))
    assert at == len(speech)


SEARCHES = {
    "every_20_ms": {"codebooks": ["vq.f32"], "mbest": 2, "send_every": 2},
    "smoothed": {"codebooks": ["vq.f32", "vq2.f32"], "mbest": 3, "send_every": 1, "smooth": 0.25},
}


@pytest.mark.parametrize("process", ["original", "codec2", "unquantised", *SEARCHES])
def test_an_utterance_has_the_speech_and_the_measures_of_its_file_as_a_sample(folder, process):
    search = SEARCHES.get(process)
    steps = [
        {"step": "encode", "weights": "net/weights.safetensors"},
        *([{"step": "quantise", "k": 4, **search}] if search else []),
        {"step": "decode", "weights": "net/weights.safetensors"},
        {"step": "infer", "weights": "manifold/weights.safetensors"},
        {"step": "synthesise", **({"postfilter": 1.2} if search else {})},
    ]
    named = process in ("original", "codec2")
    coding = {
        "process": process if named else "vocoder",
        "steps": [] if named else steps,
        "mode": "1200" if process == "codec2" else None,
    }
    words = ["set.raw", "set.csv", "--model", "set_model.bin", "--b", "set_b.f32", "--y", "set_y.f32"]
    words += ["--settings", json.dumps(coding), "-o", f"{process}.csv", "--speech", f"{process}.raw"]
    succeeds("measure-set", *words, cwd=folder)
    table = pd.read_csv(folder / f"{process}.csv").set_index("utterance")
    coded, places = records.read_speech(folder / f"{process}.raw"), rows_of(folder / "set.csv")
    start = 0
    for name in [row["utterance"] for row in places][:2]:
        model, b, y, wav = (folder / f"{name}{end}" for end in ("_model.bin", "_b.f32", "_y.f32", f"_{process}.wav"))
        succeeds("analyse", f"own/{name}.wav", "-o", model, cwd=folder)
        succeeds("features", model, "--b", b, "--y", y)
        files = {"wav": str(wav)}
        if process == "original":
            succeeds("resynth", model, "-o", wav)
        elif process == "codec2":
            succeeds("anchor", f"own/{name}.wav", "--mode", "1200", "-o", wav, cwd=folder)
        else:
            latents, l_hat, b_hat, y_hat = (folder / f"{name}_{end}.f32" for end in ("l", "l_hat", "b_hat", "y_hat"))
            succeeds("encode", "net/weights.safetensors", b, "-o", latents, cwd=folder)
            if search:
                options = [f"--{key.replace('_', '-')}={value}" for key, value in search.items() if key != "codebooks"]
                books = ",".join(search["codebooks"])
                succeeds("vq-search", latents, "-k", 4, "-q", books, *options, "-o", l_hat, cwd=folder)
            sent = l_hat if search else latents
            succeeds("decode", "net/weights.safetensors", sent, "--features", b, "-o", b_hat, cwd=folder)
            succeeds("infer", "manifold/weights.safetensors", b_hat, "--energy-from", y, "-o", y_hat, cwd=folder)
            succeeds("synth", model, y_hat, *(["--postfilter", 1.2] if search else []), "-o", wav)
            files |= {"y": y, "y_hat": y_hat, "b": b, "b_hat": b_hat}
            files |= {"l": latents, "l_hat": l_hat} if search else {}
        alone = records.read_speech(wav, silent=True)
        np.testing.assert_array_equal(coded[start : start + len(alone)], alone)
        start += len(alone)
        row = {"index": 1, "tag": "t", "bits_per_frame": None, "frame_ms": None, "delay": 0}
        row["files"] = {kind: str(path) for kind, path in files.items()}
        references = {"source": str(folder / f"own/{name}.wav"), "features": str(b), "model": str(model), "y": str(y)}
        references |= {"original": str(wav), "ideal_y": str(wav)}
        record = {"sample": name, "sex": None, "references": references, "rows": [row], "stages": {}}
        succeeds("measure", json.dumps(record), "-o", folder / "measured.json")
        (measured,) = disk.read_json(folder / "measured.json")["measures"]
        for measure, value in table.loc[name].items():
            if measure not in ("speaker", "sex"):
                expected = measured.get(measure)
                assert value == expected or (expected is None and np.isnan(value)), (name, measure)
        assert ("sd_dB2" in measured) == (not named) and ("latent_mse" in measured) == bool(search)


def test_noise_is_as_loud_as_its_ratio_to_the_active_speech_says_and_of_each_utterance_its_own(folder, tmp_path):
    words = ["set.raw", "set.csv", "--model", "set_model.bin", "--b", "set_b.f32", "--y", "set_y.f32"]
    tables, coded = {}, {}
    for snr_dB in (0, 20, 100):
        made = ["-o", tmp_path / f"{snr_dB}.csv", "--speech", tmp_path / f"{snr_dB}.raw"]
        settings = json.dumps({"process": "noise", "snr_dB": snr_dB})
        succeeds("measure-set", *words, "--settings", settings, *made, cwd=folder)
        tables[snr_dB] = pd.read_csv(made[1]).set_index("utterance")
        coded[snr_dB] = records.read_speech(made[3]).astype(float)
    source, places, noise = records.read_speech(folder / "set.raw").astype(float), rows_of(folder / "set.csv"), {}
    np.testing.assert_array_equal(coded[100], source)
    for row in places:
        start, end = int(row["start"]), int(row["start"]) + int(row["samples"])
        energy = np.square(source[start:end][: (end - start) // 80 * 80].reshape(-1, 80)).mean(axis=1)
        active = energy[energy > energy.max() / 1e4].mean()
        for snr_dB in (0, 20):
            noise[row["utterance"], snr_dB] = difference = (coded[snr_dB] - source)[start:end]
            assert 10 * np.log10(active / np.square(difference).mean()) == pytest.approx(snr_dB, abs=0.5)
    loud, quiet = (noise["ann_1", snr_dB] for snr_dB in (0, 20))
    np.testing.assert_allclose(loud / 10, quiet, atol=0.6)  # the same noise, but for rounding
    both = (noise[name, 20][:5000] for name in ("ann_1", "ann_2"))
    assert abs(np.corrcoef(*both)[0, 1]) < 0.1
    assert (tables[0]["stoi"] < tables[20]["stoi"]).all() and (tables[20]["stoi"] < 0.999).all()
    assert (tables[100]["stoi"] > 0.9999).all() and (tables[100]["lsd_dB"] == 0).all(), "noise comes without a delay"
    assert (tables[0]["lsd_dB"] > tables[20]["lsd_dB"]).all() and tables[0]["sd_dB2"].isna().all()


def test_noise_of_an_utterance_is_the_same_in_any_set_and_silence_stays(folder, tmp_path):
    speech = FILES["bob_1"]
    np.testing.assert_array_equal(measures.with_noise(speech, 7), measures.with_noise(speech.copy(), 7))
    assert not measures.with_noise(np.zeros(900, np.int16), 0).any()
    assert len(measures.with_noise(speech[:50], 0)) == 50
    words = ["set.raw", "set.csv", "--model", "set_model.bin", "--b", "set_b.f32", "--y", "set_y.f32"]
    words += ["-o", tmp_path / "x.csv", "--speech", tmp_path / "x.raw"]
    ended = run("measure-set", *words, "--settings", '{"process": "noise"}', cwd=folder)
    assert ended.status == 1 and len(ended.err) == 1 and "snr_dB: is missing" in ended.err[0], ended.err
    assert not list(tmp_path.iterdir())


def test_the_shards_of_a_set_hold_each_utterance_once_and_one_that_is_added_changes_its_own(folder, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    for name, speech in FILES.items():
        soundfile.write(own / f"{name}.wav", speech, 8000, "PCM_16")
    before = [prepared(folder, tmp_path / f"a{shard}", own, shard) for shard in range(3)]
    assert sorted(row["utterance"] for _, rows in before for row in rows) == sorted(NAMES)
    soundfile.write(own / "dan_1.wav", FILES["ann_1"][::-1], 8000, "PCM_16")
    after = [prepared(folder, tmp_path / f"b{shard}", own, shard) for shard in range(3)]
    assert [one != other for one, other in zip(before, after, strict=True)].count(True) == 1


def prepared(folder, path, own, shard):
    prepare(folder, path, files=str(own), shards=3, shard=shard)
    return path.with_suffix(".raw").read_bytes(), rows_of(path.with_suffix(".csv"))


def test_short_files_are_joined_with_pauses_and_long_ones_are_cut_in_pauses(folder, tmp_path):
    prepare(folder, tmp_path / "clips", files=str(folder / "own"), seconds=[2, 3])
    rows, speech = rows_of(tmp_path / "clips.csv"), records.read_speech(tmp_path / "clips.raw")
    assert rows and all(2 * 8000 <= int(row["samples"]) <= 3 * 8000 for row in rows)
    first = rows[0]["files"].split(" + ")
    piece = records.read_speech(first[0])
    np.testing.assert_array_equal(speech[: len(piece)], piece)
    assert not speech[len(piece) : len(piece) + 1600].any()
    long = np.concatenate([FILES["ann_1"], np.zeros(1600, np.int16), FILES["bob_1"], FILES["bob_2"], FILES["cid_1"]])
    soundfile.write(tmp_path / "long.wav", long, 8000, "PCM_16")
    prepare(folder, tmp_path / "cut", files=str(tmp_path / "long.wav"), seconds=[0.5, 1.5])
    rows = rows_of(tmp_path / "cut.csv")
    assert len(rows) > 2 and all(0.5 * 8000 <= int(row["samples"]) <= 1.5 * 8000 for row in rows)
    assert 7200 <= int(rows[0]["samples"]) <= 8800  # in the pause


def test_as_many_utterances_are_drawn_as_are_asked_for(folder, tmp_path):
    found = {}
    for seed in (1, 2):
        prepare(folder, tmp_path / str(seed), files=str(folder / "own"), utterances=2, seed=seed)
        found[seed] = {row["utterance"] for row in rows_of(tmp_path / f"{seed}.csv")}
        assert len(found[seed]) == 2
    prepare(folder, tmp_path / "minutes", files=str(folder / "own"), minutes=0.04)
    assert 0 < sum(int(row["samples"]) for row in rows_of(tmp_path / "minutes.csv")) <= 0.04 * 60 * 8000


TABLES = {
    "sexes.csv": "speaker,sex\nann,F\nbob,m\n",
    "SPEAKERS.TXT": ";ID |SEX| SUBSET\nann | F | test-clean | 8.1 | Ann Lee\nbob | M | test-clean | 8.1 | Bob\n",
    "no_sex.csv": "name,sex\nann,f\n",
    "odd.csv": "speaker,sex\nann,x\n",
    "odd.TXT": "ann | x | test-clean\n",
    "others.csv": "speaker,sex\nzoe,f\n",
    "words.csv": "file,transcript\nann_1.wav,one two\nown/bob_1.wav,three\ncid_1,four\n",
    "a.trans.txt": "ann_1 one two\nbob_1 three\n",
    "b.trans.txt": "cid_1 four\n",
    "other.trans": "zoe_1 five\n",
    "empty.trans": "ann_1\n",
    "twice.trans": "ann_1 one\nann_1 two\n",
    "short.csv": "file,transcript\nann_1.wav\n",
    "latin.trans": "ann_1 caf\xe9\n",
}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    for name, text in TABLES.items():
        (folder / name).write_text(text, encoding="latin-1")
    return folder


@pytest.mark.parametrize("trained_on", ["ann_1", "bob_2", "cid_1"])
def test_speech_that_a_network_is_trained_on_is_refused_under_whatever_name(folder, tmp_path, trained_on):
    (tmp_path / "own").mkdir()
    (tmp_path / "corpus").mkdir()
    files = {"ann_1": FILES["ann_1"], "ann_2": FILES["ann_2"], "bob_2": np.tile(FILES["bob_2"], 4)}
    for name, speech in files.items():
        soundfile.write(tmp_path / f"own/{name}.wav", speech, 8000, "PCM_16")
    soundfile.write(tmp_path / "corpus/voice.flac", files.get(trained_on, FILES["cid_1"]), 8000, "PCM_16")
    settings = {"files": str(tmp_path / "corpus"), "resample": [1.1], "equalise": 2}
    words = ["-o", tmp_path / "c.raw", "--manifest", tmp_path / "c.csv"]
    succeeds("prepare-corpus", "--settings", json.dumps(settings), *words)
    prepare(folder, tmp_path / "x", files=str(tmp_path / "own"), speakers="/([a-z]+)_[0-9]", seconds=[1.5, 2.5])
    clips = sets.checksums({"measured_in_set": {"utterances": ["x.csv"]}}, tmp_path)
    assert len(clips) > 3, "joined, and cut"
    if trained_on == "cid_1":
        refuse_samples(clips, [tmp_path / "c.csv"])
    else:
        with pytest.raises(InputError, match=f"voice.flac is the test sample {trained_on[:3]}_00"):
            refuse_samples(clips, [tmp_path / "c.csv"])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"include": ["nothing*"]}, "none of 5 audio files is chosen"),
        ({"speakers": "speaker([0-9])"}, "finds no name in"),
        ({"utterence": 3}, "unknown key 'utterence', the nearest valid one is 'utterances'"),
        ({"seconds": [3, 2]}, "expected the lower end first"),
        ({"sex": "gone.csv"}, "sex: there is no file 'gone.csv'"),
        ({"sex": "no_sex.csv"}, "no_sex.csv: found the header 'name,sex', expected the columns speaker and sex"),
        ({"sex": "odd.csv"}, "odd.csv: found 'x' as the sex of 'ann', expected m or f"),
        ({"sex": "odd.TXT"}, "odd.TXT: found 'x' as the sex of 'ann', expected m or f"),
        ({"sex": "others.csv"}, "others.csv: has none of the 3 speakers, as ann, but zoe"),
        ({"sex": {"zoe": "f"}}, "sex: has none of the 3 speakers, as ann, but zoe"),
        ({"sex": {"ann": "x"}}, "sex.ann: found 'x', expected 'm' or 'f'"),
        ({"transcripts": "*.txt.gone"}, "transcripts: there is no file '*.txt.gone'"),
        ({"transcripts": "other.trans"}, "other.trans: has a transcript of none of the 5 files"),
        ({"transcripts": "empty.trans"}, "empty.trans: found the line 'ann_1', expected a name and its words"),
        ({"transcripts": "twice.trans"}, "twice.trans: 'ann_1' is there twice, with 'one' and 'two', expected once"),
        ({"transcripts": "short.csv"}, "short.csv: a row is shorter than the header"),
        (
            {"transcripts": "sexes.csv"},
            "sexes.csv: found the header 'speaker,sex', expected the columns file and transcript",
        ),
        ({"transcripts": "latin.trans"}, "latin.trans: is no text in UTF-8"),
    ],
)
def test_a_choice_that_cannot_be_is_one_line(folder, tables, tmp_path, changes, says):
    settings = {"files": str(folder / "own"), "speakers": "/([a-z]+)_[0-9]", **changes}
    ended = run(*words_of(tmp_path, "x", settings), cwd=tables)
    assert ended.status == 1 and len(ended.err) == 1 and says in ended.err[0], ended.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sex", ["sexes.csv", "SPEAKERS.TXT"])
@pytest.mark.parametrize("transcripts", ["words.csv", "*.trans.txt"])
def test_sex_and_transcripts_come_from_tables(folder, tables, tmp_path, sex, transcripts):
    own = {"files": str(folder / "own"), "speakers": "/([a-z]+)_[0-9]", "sex": sex, "transcripts": transcripts}
    succeeds(*words_of(tmp_path, "x", own), cwd=tables)
    found = {row["utterance"]: (row["sex"], row["transcript"]) for row in rows_of(tmp_path / "x.csv")}
    assert found == {
        **{"ann_1": ("f", "one two"), "ann_2": ("f", "")},
        **{"bob_1": ("m", "three"), "bob_2": ("m", ""), "cid_1": ("", "four")},
    }


def test_a_table_may_lie_below_the_folder_of_the_files(folder, tables, tmp_path):
    deep = tmp_path / "own/deep"
    deep.mkdir(parents=True)
    for name in ("ann_1", "bob_1"):
        soundfile.write(deep / f"{name}.wav", FILES[name], 8000, "PCM_16")
    (deep / "deep.trans.txt").write_text(TABLES["a.trans.txt"])
    prepare(folder, tmp_path / "x", files=str(tmp_path / "own"), transcripts="*.trans.txt")
    assert {row["transcript"] for row in rows_of(tmp_path / "x.csv")} == {"one two", "three"}


def test_joined_whole_files_have_the_words_of_all_and_a_cut_file_has_none(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    for name in ("ann_1", "ann_2", "bob_1"):
        soundfile.write(own / f"{name}.wav", FILES[name], 8000, "PCM_16")
    soundfile.write(own / "bob_2.wav", np.tile(FILES["bob_2"], 4), 8000, "PCM_16")
    said = {"ann_1": "a b", "ann_2": "c", "bob_1": "d", "bob_2": "e f g h"}
    lines = ["file,transcript", *(f"{name}.wav,{words}" for name, words in said.items())]
    (own / "words.csv").write_text("\n".join(lines) + "\n")
    settings = {"files": "own", "speakers": "/([a-z]+)_[0-9]", "transcripts": "words.csv", "seconds": [1.5, 2.5]}
    succeeds(*words_of(tmp_path, "x", settings), cwd=tmp_path)
    found = [(row["files"], row["transcript"]) for row in rows_of(tmp_path / "x.csv")]
    (of_ann,) = [words for files, words in found if "ann_1" in files]
    assert sorted(of_ann.split()) == ["a", "b", "c"]
    cut = [words for files, words in found if "bob_2" in files]
    assert len(cut) > 1 and not any(cut)


def archive_of_librispeech(folder):
    """An archive as LibriSpeech's: FLAC of 16 kHz in nested folders, transcripts beside them, and SPEAKERS.TXT."""
    root = folder / "LibriSpeech"
    said = {}
    for i, (speaker, chapter) in enumerate((("1089", "134686"), ("1089", "134691"), ("4446", "2271"))):
        place = root / "test-clean" / speaker / chapter
        place.mkdir(parents=True)
        names = [f"{speaker}-{chapter}-{n:04}" for n in range(2)]
        for n, name in enumerate(names):
            speech = np.repeat(synthetic_speech(0.6, 110 + 30 * i, 10 * i + n), 2)
            soundfile.write(place / f"{name}.flac", speech, 16000, "PCM_16")
            said[name] = f"WORDS OF {speaker} NUMBER {n}"
        lines = [f"{name} {said[name]}\n" for name in names]
        (place / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines))
    (root / "SPEAKERS.TXT").write_text(
        "; Some explanations | of the fields\n;ID  |SEX| SUBSET           |MINUTES| NAME\n"
        "1089 | M | test-clean       | 8.03  | Peter Bobbe\n4446 | F | test-clean       | 8.04  | Jen | Maxwell\n"
    )
    (root / "README.TXT").write_text("about the corpus\n")
    with tarfile.open(folder / "test-clean.tar.gz", "w:gz") as tar:
        tar.add(root, "LibriSpeech")
    return folder / "test-clean.tar.gz", said


def fetch(archive, folder, **settings):
    source = json.dumps({"urls": [{"url": archive.as_uri()}], **settings})
    succeeds("fetch", source, "-o", folder / "s.tar", "--manifest", folder / "s.json")


def test_an_archive_as_librispeech_gives_speakers_sexes_and_transcripts(folder, tmp_path):
    archive, said = archive_of_librispeech(tmp_path)
    fetch(archive, tmp_path, tables=["*.trans.txt", "SPEAKERS.TXT"])
    entry = yaml.safe_load((ROOT / "workflow/config/test_sets.yaml").read_text())["test_sets"]["librispeech_clean"]
    clips = {key: entry[key] for key in ("speakers", "sex", "transcripts")}
    prepare(folder, tmp_path / "x", archive=str(tmp_path / "s.tar"), **clips)
    kept = [one["path"] for one in disk.read_json(tmp_path / "s.json")["files"]]
    assert "LibriSpeech/SPEAKERS.TXT" in kept and "LibriSpeech/README.TXT" not in kept
    rows = rows_of(tmp_path / "x.csv")
    assert {row["utterance"]: row["transcript"] for row in rows} == said
    assert {(row["speaker"], row["sex"]) for row in rows} == {("1089", "m"), ("4446", "f")}


def test_a_shard_holds_utterances_of_all_parts(folder, tmp_path):
    archive, _ = archive_of_librispeech(tmp_path)
    fetch(archive, tmp_path)
    of_tar = {"archive": str(tmp_path / "s.tar"), "seconds": [0.5, 0.7]}
    parts = {"read": of_tar | {"sex": "m"}, "b": {"files": str(folder / "own"), "sex": "f"}}
    rows = []
    for shard in range(2):
        prepare(folder, tmp_path / f"{shard}", parts=parts, shard=shard, shards=2)
        rows.append(rows_of(tmp_path / f"{shard}.csv"))
        assert {row["speaker"] for row in rows[-1]} == {"read", "b"}
        assert all(shard_of(row["utterance"], 2) == shard for row in rows[-1])
    names = [row["utterance"] for one in rows for row in one]
    assert sorted(names) == sorted({*names}) and sum(name.startswith("b_") for name in names) == 5
    assert [name for name in sorted(names) if name.startswith("read")] == [f"read_{n:03}" for n in range(1, 7)]
    assert {row["speaker"] + row["sex"] for one in rows for row in one} == {"readm", "bf"}


def test_files_of_other_utterances_are_refused_in_one_line(folder, tmp_path):
    words = ["set.raw", "set.csv", "--model", "set_model.bin", "--b", "l.f32", "--y", "set_y.f32"]
    words += ["--settings", '{"process": "original"}', "-o", tmp_path / "x.csv", "--speech", tmp_path / "x.raw"]
    ended = run("measure-set", *words, cwd=folder)
    assert ended.status == 1 and len(ended.err) == 1 and "l.f32" in ended.err[0]
    assert not list(tmp_path.iterdir())


@given(st.lists(st.from_regex(r"[a-c]{1,2}/[a-c]{1,3}\.wav", fullmatch=True), unique=True, min_size=1, max_size=12))
def test_every_path_has_a_name_of_its_own(paths):
    names = short_names(paths)
    assert {*names} == {*paths} and len({*names.values()}) == len(paths)


@given(st.sets(st.text(min_size=1, max_size=5), min_size=1, max_size=9), st.integers(0, 99), st.integers(1, 7))
def test_the_order_and_the_shards_of_others_stay_when_one_is_added(names, seed, shards):
    order = by_seed({*names, "added"}, seed)
    assert [name for name in order if name in names - {"added"}] == by_seed(names - {"added"}, seed)
    assert all(0 <= shard_of(name, shards) < shards for name in names)


# --- the tables ------------------------------------------------------------------------------------------


def table_of(index, values, speakers, sexes):
    names = [f"u{i}" for i in range(len(values))]
    return pd.DataFrame({"utterance": names, "speaker": speakers, "sex": sexes, "frames": 100, "pesq": values})


def test_differences_are_paired_and_told_by_speakers(tmp_path):
    rng = np.random.default_rng(1)
    speakers = np.repeat([f"s{i}" for i in range(8)], 10)
    base = 3 + rng.normal(0, 0.5, 80)
    outputs = {5: base, 6: base - 0.2 + rng.normal(0, 0.02, 80), 7: base + rng.normal(0, 0.3, 80)}
    found = []
    for index, values in outputs.items():
        table = table_of(index, values, speakers, np.where(speakers < "s4", "m", "f"))
        table.reindex(columns=sets.OF_SET).to_csv(tmp_path / f"{index}.csv", index=False)
        found.append({"files": [f"{index}.csv"]})
    experiment = {"test_set": "mine", "outputs": [{"index": i, "tag": f"t{i}"} for i in outputs]}
    tables = sets.tables(experiment | {"measured_in_set": {"outputs": found}}, tmp_path)
    means = tables["set_means"].set_index(["group", "index", "measure"])
    assert means.loc[("all", 5, "pesq"), "mean"] == pytest.approx(base.mean(), rel=1e-5)
    assert means.loc[("male", 5, "pesq"), ["utterances", "speakers"]].tolist() == [40, 4]
    pairs = tables["set_pairs"].set_index(["group", "index", "index_b"])
    assert pairs.loc[("all", 5, 6), "difference"] == pytest.approx(-0.2, abs=0.01)
    assert bool(pairs.loc[("all", 5, 6), "beyond_chance"]) and not bool(pairs.loc[("all", 5, 7), "beyond_chance"])
    width = pairs.loc[("all", 5, 6), "high"] - pairs.loc[("all", 5, 6), "low"]
    assert width < 0.03 < means.loc[("all", 5, "pesq"), "high"] - means.loc[("all", 5, "pesq"), "low"]
    assert len(tables["utterances"]) == 240


def test_intervals_over_speakers_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(7)
    inside = 0
    for _ in range(300):
        of_speaker = rng.normal(0, 0.3, 10)
        counts = rng.integers(5, 25, 10)
        speakers = np.repeat(np.arange(10), counts)
        values = of_speaker[speakers] + rng.normal(0, 0.2, len(speakers))
        low, high = speaker_interval(values, speakers)
        inside += low <= 0 <= high
    assert 0.91 <= inside / 300 <= 0.99
    assert speaker_interval([1, 2, 3], ["a", "a", "b"]) is None


def test_an_experiment_without_a_test_set_has_empty_tables():
    assert all(table.empty for table in sets.tables({"outputs": []}, None).values())


def test_speakers_of_digits_are_names():
    made = {
        "utterance": ["0061_1", "61_1", "007"],
        "speaker": ["0061", "61", "7"],
        "sex": "f",
        "frames": 9,
        "pesq": 3.0,
    }
    with tempfile.TemporaryDirectory() as folder:
        pd.DataFrame(made).reindex(columns=sets.OF_SET).to_csv(f"{folder}/m.csv", index=False)
        experiment = {"test_set": "mine", "outputs": [{"index": 1, "tag": "0.10"}]}
        tables = sets.tables(experiment | {"measured_in_set": {"outputs": [{"files": ["m.csv"]}]}}, Path(folder))
    assert tables["utterances"]["speaker"].tolist() == ["0061", "61", "7"]
    assert tables["utterances"]["utterance"].tolist() == ["0061_1", "61_1", "007"]
    assert set(tables["set_means"]["speakers"]) == {3}


def test_a_set_is_the_same_in_other_shards_and_another_with_other_speech(folder, tmp_path):
    def about(name, shards, **changes):
        for shard in range(shards):
            settings = {"files": str(folder / "own"), "shards": shards, "shard": shard} | changes
            prepare(folder, tmp_path / f"{name}{shard}", **settings)
        in_set = {"utterances": [str(tmp_path / f"{name}{shard}.csv") for shard in range(shards)]}
        return sets.about({"test_set": name, "measured_in_set": in_set}, None)

    one, other, fewer = about("a", 1), about("b", 3), about("c", 1, utterances=4)
    assert one["sha256"] == other["sha256"] != fewer["sha256"]
    assert (one["name"], one["utterances"], one["speakers"]) == ("a", 5, 1)
    assert sets.about({}, None) is None
