"""Obtaining speech and cutting samples and training corpora from it."""

import csv
import gzip
import hashlib
import http.server
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlquant import files, speech
from mlquant.files import InputError, read_speech
from mlquant.speech import fetch_source, matches, member, prepare_corpus_part, prepare_sample

SAMPLES = Path(__file__).resolve().parents[2] / "shared" / "speech"


def tone(seconds, hertz=200.0, rate=8000):
    """A voice-like sound [N] int16 of a few harmonics, different for every pitch and length."""
    t = np.arange(round(seconds * rate)) / rate
    return np.rint(3000 * sum(np.sin(2 * np.pi * hertz * m * t) / m for m in (1, 2, 3))).astype(np.int16)


def wav(samples, rate=8000):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, "PCM_16", format="WAV")
    return file.getvalue()


def tar_bytes(files, mode="w", links=()):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:
        for name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uid = len(data), 1234567, 1000
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def deb_bytes(files, data_name="data.tar.xz", content=None):
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": b"odd",
        data_name: tar_bytes(files, "w:xz") if content is None else content,
    }
    out = b"!<arch>\n"
    for name, data in members.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return out


def zip_bytes(files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as bundle:
        for name, data in files.items():
            bundle.writestr(name, data)
    return file.getvalue()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def url_of(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path.as_uri()


def fetch(tmp_path, source, **options):
    """Fetch into tmp_path; returns the archive's content by path, in its order, and the manifest."""
    archive, manifest = tmp_path / "out/a.tar", tmp_path / "out/a.json"
    fetch_source(source, archive, manifest, **options)
    with tarfile.open(archive) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}, json.loads(manifest.read_text())


def archive_of(tmp_path, files):
    fetch(tmp_path, {"urls": [{"url": url_of(tmp_path / "in.tar", tar_bytes(files))}]})
    return tmp_path / "out/a.tar"


@pytest.fixture
def fake_apt(tmp_path, monkeypatch):
    """Put an `apt-get` first on PATH that runs the given shell code, with $what the operation."""

    def install(code):
        folder = tmp_path / "bin"
        folder.mkdir()
        script = folder / "apt-get"
        script.write_text(
            f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n'
            'for a in "$@"; do case "$a" in update|download) what=$a;; esac; done\n' + code
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return install


@pytest.fixture
def no_apt(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


FILES = {"./usr/b.wav": wav(tone(0.1)), "./usr/a.raw": b"\1\2" * 200, "./usr/doc.txt": b"text", "./usr/empty.FLAC": b""}
KEPT = {"usr/a.raw": FILES["./usr/a.raw"], "usr/b.wav": FILES["./usr/b.wav"], "usr/empty.FLAC": b""}


@pytest.mark.parametrize(
    "name, pack",
    [
        ("p_1_all.deb", deb_bytes),
        ("p.tar", tar_bytes),
        ("p.tar.gz", lambda files: tar_bytes(files, "w:gz")),
        ("p.tar.xz", lambda files: tar_bytes(files, "w:xz")),
        ("p.tar.bz2", lambda files: tar_bytes(files, "w:bz2")),
        ("p.zip", zip_bytes),
    ],
)
def test_every_kind_of_archive_gives_its_audio_files(tmp_path, name, pack):
    data = pack(FILES)
    url = url_of(tmp_path / name, data)
    files, manifest = fetch(tmp_path, {"urls": [{"url": url, "sha256": sha256(data).upper()}]})
    assert files == KEPT and list(files) == sorted(files)
    assert manifest["available"] and manifest["obtained_from"] == url and manifest["sha256"] == sha256(data)
    assert manifest["files"] == [{"path": p, "bytes": len(d), "sha256": sha256(d)} for p, d in KEPT.items()]


def test_the_archive_has_the_same_bytes_however_the_files_came(tmp_path):
    archives = []
    for name, data in (("a.zip", zip_bytes(FILES)), ("b.deb", deb_bytes(dict(reversed(FILES.items()))))):
        fetch(tmp_path, {"urls": [{"url": url_of(tmp_path / name, data)}]})
        archives.append((tmp_path / "out/a.tar").read_bytes())
    assert archives[0] == archives[1]


def test_a_url_of_one_audio_file_gives_that_file(tmp_path):
    files, _ = fetch(tmp_path, {"urls": [{"url": url_of(tmp_path / "two lines.raw", b"\1\2" * 100)}]})
    assert files == {"two lines.raw": b"\1\2" * 100}


@pytest.mark.parametrize("pack", [tar_bytes, zip_bytes])
def test_paths_that_lead_out_of_the_archive_are_left_out(tmp_path, pack):
    data = pack({"../up.wav": b"1", "a/../../b.raw": b"2", "/etc/c.flac": b"3", "good/d.raw": b"4"})
    files, _ = fetch(tmp_path, {"urls": [{"url": url_of(tmp_path / "in/x.tar", data)}]})
    assert files == {"good/d.raw": b"4"}
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.json", "a.tar", "in", "out", "x.tar"]


def test_links_are_left_out(tmp_path):
    link = zipfile.ZipInfo("secret.wav")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    for data in (
        tar_bytes({"a.raw": b"1"}, links=[("secret.wav", "/etc/passwd")]),
        zip_bytes({link: b"/etc/passwd", "a.raw": b"1"}),
    ):
        assert fetch(tmp_path, {"urls": [{"url": url_of(tmp_path / "x.tar", data)}]})[0] == {"a.raw": b"1"}


def test_odd_names_survive_as_printable_utf8(tmp_path):
    names = ["d/été øx.raw", 'd/"q" $(x);\t.raw', "d/caf\udce9.raw", "d/two\nlines.raw", f"d/{'é' * 120}.raw"]
    samples = {name: tone(0.1, 150 + 10 * i).tobytes() for i, name in enumerate(names)}
    archive = archive_of(tmp_path, samples)
    prepare_corpus_part([archive], {}, tmp_path / "c.raw", tmp_path / "c.csv")
    rows = read_rows(tmp_path / "c.csv")
    expected = {"d/été øx.raw", 'd/"q" $(x);\\t.raw', "d/caf\\udce9.raw", "d/two\\nlines.raw", names[4]}
    assert {row["path"] for row in rows} == expected
    for name in expected:
        assert member(archive, name)[0] == name


@pytest.mark.parametrize(
    "name, data",
    [
        ("cut.tar.xz", tar_bytes(FILES, "w:xz")[:-40]),
        ("cut.deb", deb_bytes(FILES)[:-40]),
        ("header.deb", deb_bytes(FILES).replace(b"`\n", b"??")),
        ("content.deb", deb_bytes(FILES, content=b"no tar at all")),
        ("none.deb", deb_bytes(FILES, data_name="other.tar.xz")),
        ("cut.zip", zip_bytes(FILES)[:-30]),
        ("page.tar.gz", b"<html>not found</html>"),
        ("empty.tar.gz", b""),
        ("sum.tar.gz", gzip.compress(tar_bytes(FILES))[:-8] + b"\0" * 8),
        ("cut.tar", tar_bytes({"a.raw": b"1" * 20000})[:9000]),
    ],
)
def test_a_corrupt_archive_is_named(tmp_path, name, data):
    with pytest.raises(InputError, match=rf"source it: .*{name} is corrupt or no archive") as error:
        fetch(tmp_path, {"name": "it", "urls": [{"url": url_of(tmp_path / name, data)}]})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_archive_without_audio_and_one_too_large_are_refused(tmp_path, monkeypatch):
    url = url_of(tmp_path / "a.tar", tar_bytes({"readme.txt": b"text"}))
    with pytest.raises(InputError, match="holds no audio"):
        fetch(tmp_path, {"urls": [{"url": url}]})
    monkeypatch.setattr(speech, "LIMIT", 20000)
    bomb = url_of(tmp_path / "b.tar.xz", tar_bytes({"a.raw": bytes(30000)}, "w:xz"))
    with pytest.raises(InputError, match="holds more than 20000 bytes"):
        fetch(tmp_path, {"urls": [{"url": bomb}]})
    with pytest.raises(InputError, match="more than 20000 bytes"):
        fetch(tmp_path, {"urls": [{"url": url_of(tmp_path / "c.raw", bytes(30000))}]})


def test_a_zstd_package_goes_through_dpkg_or_says_that_it_cannot(tmp_path, no_apt):
    data = deb_bytes(FILES, data_name="data.tar.zst", content=b"compressed")
    source = {"urls": [{"url": url_of(tmp_path / "z.deb", data)}]}
    with pytest.raises(InputError, match="needs dpkg-deb, which is not there"):
        fetch(tmp_path, source)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "plain.tar").write_bytes(tar_bytes(FILES))
    (tmp_path / "nothing/dpkg-deb").write_text(f"#!/bin/sh\nexec /bin/cat {tmp_path}/plain.tar\n")
    (tmp_path / "nothing/dpkg-deb").chmod(0o755)
    assert fetch(tmp_path, source)[0] == KEPT


def test_urls_are_tried_in_order_and_a_wrong_checksum_is_a_failure(tmp_path):
    bad, good = tar_bytes({"bad.raw": b"1"}), tar_bytes({"good.raw": b"2"})
    wrong = {"url": url_of(tmp_path / "bad.tar", bad), "sha256": sha256(good)}
    right = {"url": url_of(tmp_path / "good.tar", good), "sha256": sha256(good)}
    gone = {"url": (tmp_path / "gone.tar").as_uri()}
    files, manifest = fetch(tmp_path, {"urls": [gone, wrong, right]})
    assert list(files) == ["good.raw"] and manifest["obtained_from"] == right["url"]
    with pytest.raises(InputError) as error:
        fetch(tmp_path, {"name": "mine", "urls": [gone, wrong, {"url": "ftp://x/y.tar"}]})
    text = str(error.value)
    assert text.startswith(f"source mine: {gone['url']}: ") and "\n" not in text
    assert f"{wrong['url']}: checksum {sha256(bad)}, expected {sha256(good)}" in text
    assert "ftp://x/y.tar: expected a url of http, https or file" in text


def test_only_failures_that_may_pass_are_tried_again(tmp_path, monkeypatch):
    calls = []

    def get(url):
        calls.append(url)
        if len(calls) < 3 or "never" in url:
            raise ConnectionResetError(104, "Connection reset by peer")
        return b"\1\2"

    monkeypatch.setattr(speech, "_get", get)
    monkeypatch.setattr(speech.time, "sleep", lambda seconds: None)
    assert fetch(tmp_path, {"urls": [{"url": "http://h/a.raw"}]})[0] == {"a.raw": b"\1\2"}
    assert len(calls) == 3
    with pytest.raises(InputError, match=r"http://h/never\.raw: Connection reset by peer$"):
        fetch(tmp_path, {"urls": [{"url": "http://h/never.raw"}]})
    assert len(calls) == 6
    monkeypatch.undo()
    monkeypatch.setattr(speech.time, "sleep", lambda seconds: pytest.fail("tried again"))
    with pytest.raises(InputError, match="No such file"):
        fetch(tmp_path, {"urls": [{"url": "file:///no/such/file.tar"}]})


def test_a_server_is_asked_again_when_busy_or_cut_off_and_not_for_what_it_lacks(tmp_path, monkeypatch):
    data, asked = b"\1\2" * 500, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            turn = len(asked)
            self.send_response(404 if "lost" in self.path else 503 if turn == 1 else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:100] if turn == 2 else data)

        def log_message(self, *arguments):
            pass

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(speech.time, "sleep", lambda seconds: None)
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        assert fetch(tmp_path, {"urls": [{"url": f"{base}/a%20b.raw?raw=1"}]})[0] == {"a b.raw": data}
        assert len(asked) == 3
        with pytest.raises(InputError, match=r"/lost\.raw: HTTP Error 404: Not Found$"):
            fetch(tmp_path, {"urls": [{"url": f"{base}/lost.raw"}]})
        assert len(asked) == 4
        server.shutdown()


def test_apt_is_given_a_folder_of_its_own_and_its_package_is_unpacked(tmp_path, fake_apt):
    (tmp_path / "made.deb").write_bytes(deb_bytes(FILES))
    fake_apt(f"[ $what = update ] || cp {tmp_path}/made.deb ./p_1%3a2.0-1_all.deb\n")
    folder = tmp_path / "lists of apt"
    files, manifest = fetch(tmp_path, {"package": "p", "version": "1:2.0-1"}, apt_folder=folder)
    assert files == KEPT
    assert manifest["obtained_from"] == "apt package p version 1:2.0-1"
    assert manifest["sha256"] == sha256(deb_bytes(FILES))
    fetch(tmp_path, {"package": "p"}, apt_folder=folder)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split("Dir::Cache=")[1].removeprefix(f"{folder}/cache ") for call in calls] == [
        "update",
        "download -- p=1:2.0-1",
        "download -- p",
    ]
    assert all(f"-o Dir::State={folder}/state -o Dir::State::status={folder}/state/status" in call for call in calls)
    assert not list(folder.rglob("*.deb"))


@pytest.mark.parametrize(
    "code, reason",
    [
        ("echo 'E: Unable to locate package p' >&2; exit 100", "apt-get: E: Unable to locate package p"),
        ("exit 3", "apt-get: download ended with status 3"),
        ("exit 0", "apt-get: 0 files came for p, expected one"),
        ("[ $what = update ] || echo junk > p_1_all.deb", "p_1_all.deb is corrupt or no archive"),
        (
            "[ $what = update ] && echo 'W: Failed to fetch http://h  No address' >&2 && exit 0\n"
            "echo 'E: Unable to locate package p' >&2; exit 100",
            "apt-get: E: Unable to locate package p (update: W: Failed to fetch http://h  No address)",
        ),
    ],
)
def test_when_apt_fails_the_url_is_taken_or_the_reason_given(tmp_path, fake_apt, code, reason):
    fake_apt(code)
    url = url_of(tmp_path / "x.tar", tar_bytes(FILES))
    assert fetch(tmp_path, {"package": "p", "urls": [{"url": url}]})[1]["obtained_from"] == url
    with pytest.raises(InputError) as error:
        fetch(tmp_path, {"package": "p"})
    assert str(error.value).startswith("source p: ") and reason in str(error.value)


def test_package_lists_are_used_again_only_after_an_update_that_went_well(tmp_path, fake_apt):
    fake_apt(f"[ $what = update ] && [ ! -e {tmp_path}/net ] && echo 'W: Failed to fetch http://h' >&2; exit 0\n")
    for _ in range(4):
        with pytest.raises(InputError, match="0 files came"):
            fetch(tmp_path, {"package": "p"}, apt_folder=tmp_path / "lists")
        if (tmp_path / "calls").read_text().count(" update") == 2:
            (tmp_path / "net").touch()
    assert (tmp_path / "calls").read_text().count(" update") == 3
    assert (tmp_path / "calls").read_text().count(" download") == 4


def test_without_apt_an_optional_source_is_left_out_and_a_required_one_is_an_error(tmp_path, no_apt, capsys):
    source = {"name": "voice", "package": "p", "urls": [{"url": "file:///no/such/a.raw"}]}
    message = "source voice: apt-get: not found; file:///no/such/a.raw: No such file or directory"
    files, manifest = fetch(tmp_path, source, optional=True)
    assert files == {}
    assert manifest == {"source": source, "available": False, "reason": message, "files": []}
    assert message in capsys.readouterr().err
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(InputError) as error:
        fetch(tmp_path, source)
    assert str(error.value) == message
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="neither package nor urls"):
        fetch(tmp_path, {"name": "nothing"})


def test_a_real_package_comes_through_apt_and_changes_nothing_else(tmp_path):
    if not shutil.which("apt-get"):
        pytest.skip("no apt-get on this machine")
    lists = Path("/var/lib/apt/lists")
    before = sorted((p.name, p.stat().st_mtime_ns) for p in lists.glob("*")) if lists.exists() else None
    try:
        files, manifest = fetch(tmp_path, {"package": "codec2-examples"})
    except InputError as error:
        if not any(sign in str(error) for sign in ("Failed to fetch", "resolve", "Unable to locate package")):
            raise
        pytest.skip(f"apt reaches no such package here: {error}")
    assert manifest["obtained_from"].startswith("apt package codec2-examples version ")
    assert any(matches(path, "raw/hts1a.raw") for path in files)
    assert before == (sorted((p.name, p.stat().st_mtime_ns) for p in lists.glob("*")) if lists.exists() else None)


def test_apt_runs_none_of_the_machines_own_hooks(tmp_path):
    if not shutil.which("apt-config"):
        pytest.skip("no apt-config on this machine")
    (tmp_path / "own").write_text('APT::Update::Post-Invoke { "touch /tmp/x"; };\n')
    (tmp_path / "ours").write_text(speech._APT_CONFIG)
    environment = os.environ | {"APT_CONFIG": str(tmp_path / "own")}

    def dump(*options):
        done = subprocess.run(["apt-config", *options, "dump"], env=environment, capture_output=True, text=True)
        return done.stdout

    assert "touch /tmp/x" in dump()
    assert "touch /tmp/x" not in dump("-c", str(tmp_path / "ours"))


def test_a_member_is_found_by_the_end_of_its_path(tmp_path):
    archive = archive_of(tmp_path, {"usr/share/raw/dog.raw": b"1", "usr/share/raw/big_dog.raw": b"2", "wav/c.wav": b""})
    assert member(archive, "raw/dog.raw") == ("usr/share/raw/dog.raw", b"1")
    assert member(archive, "*/big_*.raw") == ("usr/share/raw/big_dog.raw", b"2")
    with pytest.raises(InputError, match=r"no file matches 'raw/bigdog.raw', the nearest of 3 is .*/big_dog\.raw"):
        member(archive, "raw/bigdog.raw")
    with pytest.raises(InputError, match=r"2 files match '\*\.raw' \(.*\), expected one"):
        member(archive, "*.raw")
    with pytest.raises(InputError, match="no such file"):
        member(tmp_path / "gone.tar", "a")
    (tmp_path / "bad.tar").write_bytes(b"no tar")
    with pytest.raises(InputError, match=r"bad\.tar: not an archive that can be read"):
        member(tmp_path / "bad.tar", "a")


def test_a_member_of_a_source_that_was_left_out_is_missing(tmp_path, no_apt):
    fetch(tmp_path, {"package": "p"}, optional=True)
    with pytest.raises(InputError, match="the archive is empty"):
        member(tmp_path / "out/a.tar", "two_lines.raw")


def test_a_sample_comes_from_a_file_or_a_member_and_is_checked(tmp_path):
    samples = tone(0.5)
    archive = archive_of(tmp_path, {"raw/a.raw": samples.tobytes(), "raw/b.wav": b"no wav", "raw/c.raw": bytes(400)})
    out = tmp_path / "s.raw"
    prepare_sample(archive, out, "raw/a.raw", sha256(samples.tobytes()))
    assert out.read_bytes() == samples.tobytes()
    (tmp_path / "own.wav").write_bytes(wav(tone(0.5, rate=16000), 16000))
    prepare_sample(tmp_path / "own.wav", out)
    assert np.abs(read_speech(out)[200:-200] - samples[200:-200].astype(float)).max() < 30

    out.unlink()
    with pytest.raises(InputError, match=rf"a\.tar: raw/a\.raw: checksum {sha256(samples.tobytes())}, expected 00"):
        prepare_sample(archive, out, "raw/a.raw", "00")
    with pytest.raises(InputError, match=r"own\.wav: checksum .*, expected 00"):
        prepare_sample(tmp_path / "own.wav", out, sha256="00")
    with pytest.raises(InputError, match=r"a\.tar: raw/b\.wav: not audio"):
        prepare_sample(archive, out, "raw/b.wav")
    with pytest.raises(InputError, match=r"a\.tar: raw/c\.raw: all 200 samples are zero"):
        prepare_sample(archive, out, "raw/c.raw")
    assert not out.exists()


def test_a_raw_sample_passes_unchanged(tmp_path):
    if not SAMPLES.is_dir():
        pytest.skip("no folder with the test samples beside the checkout")
    for path in sorted(SAMPLES.glob("*.raw")):
        prepare_sample(path, tmp_path / path.name)
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def read_rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def corpus(tmp_path, inputs, **settings):
    """Prepare a corpus part; returns its speech [N] int16 and the rows of its CSV."""
    prepare_corpus_part(inputs, settings, tmp_path / "c.raw", tmp_path / "c.csv")
    return np.fromfile(tmp_path / "c.raw", "<i2"), read_rows(tmp_path / "c.csv")


@pytest.fixture
def voices(tmp_path):
    """An archive of twelve sounds of about a second, and what real packages hold besides."""
    files = {f"usr/v/{i:02}.wav": wav(tone(1 + 0.013 * i, 100 + 10 * i)) for i in range(12)}
    files["usr/v/00.raw"] = tone(1, 100).tobytes()  # the samples of 00.wav again
    files["usr/v/copy.wav"] = files["usr/v/01.wav"]
    files |= {"usr/v/is.wav": wav(np.zeros(0, np.int16)), "usr/v/none.wav": b"", "usr/v/page.wav": b"<html>"}
    files |= {"usr/v/short.wav": wav(tone(0.005)), "usr/silence/1.wav": wav(np.zeros(8000, np.int16))}
    return archive_of(tmp_path, files)


def test_a_corpus_holds_every_usable_file_once_in_whole_frames(tmp_path, voices, capsys):
    sound, rows = corpus(tmp_path, [voices], seed=3)
    assert sorted(Path(row["path"]).stem for row in rows) == [f"{i:02}" for i in range(12)]
    assert len(sound) == 80 * sum(int(row["frames"]) for row in rows)
    start = 0
    for row in rows:
        assert int(row["start_frame"]) == start and float(row["factor"]) == 1.0
        _, data = member(voices, row["path"])
        assert row["sha256"] == sha256(data)
        samples = np.frombuffer(data, "<i2") if row["path"].endswith(".raw") else soundfile.read(io.BytesIO(data))[0]
        if samples.dtype == float:
            samples = np.rint(samples * 32768)
        piece = sound[80 * start :][: 80 * int(row["frames"])]
        assert 0 <= len(piece) - len(samples) < 80
        assert np.array_equal(piece[: len(samples)], samples) and not piece[len(samples) :].any()
        start += int(row["frames"])
    left_out = [line for line in capsys.readouterr().err.splitlines() if line.endswith("; left out")]
    assert len(left_out) == 5 and any(f"{voices}: usr/v/page.wav: not audio" in line for line in left_out)


def test_globs_choose_and_forbidden_contents_never_come_in(tmp_path, voices, capsys):
    _, rows = corpus(tmp_path, [voices], include=["v/0?.wav", "nothing*"], exclude=["03.wav", "v/*5.wav"])
    assert sorted(row["path"][-6:] for row in rows) == [f"{i:02}.wav" for i in (0, 1, 2, 4, 6, 7, 8, 9)]
    assert "nothing matches include 'nothing*'" in capsys.readouterr().err
    of_file, of_samples = sha256(wav(tone(1.026, 120))), sha256(tone(1, 100).tobytes())
    _, rows = corpus(tmp_path, [voices], include=["*"], forbid=[of_file.upper(), of_samples])
    assert len(rows) == 10
    assert not {"usr/v/00.wav", "usr/v/00.raw", "usr/v/02.wav"} & {row["path"] for row in rows}


def test_the_order_depends_on_seed_and_content_only(tmp_path, voices):
    sound, rows = corpus(tmp_path, [voices], seed=1, minutes=0.1)
    assert np.array_equal(sound, corpus(tmp_path, [voices], seed=1, minutes=0.1)[0])
    assert rows != corpus(tmp_path, [voices], seed=2, minutes=0.1)[1]
    with tarfile.open(voices) as tar:
        moved = {f"pack-1.6/x{i:02}" + Path(m.name).suffix: tar.extractfile(m).read() for i, m in enumerate(tar)}
    upstream = archive_of(tmp_path / "up", moved)
    assert np.array_equal(sound, corpus(tmp_path, [upstream], seed=1, minutes=0.1)[0])


def test_minutes_are_kept_and_the_copies_share_them_with_different_files(tmp_path, voices):
    sound, rows = corpus(tmp_path, [voices], minutes=0.1, resample=[0.9, 1.0, 1.1])
    assert len(sound) == 6 * 8000
    assert [row["factor"] for row in rows][:6] == ["0.9", "1.0", "1.1"] * 2
    assert len({row["sha256"] for row in rows}) == len(rows)
    _, rows = corpus(tmp_path, [voices], minutes=10, resample=[0.9, 1.1])
    assert len({(row["sha256"], row["factor"]) for row in rows}) == len(rows) == 24
    assert {row["factor"] for row in rows[:12]} == {"0.9", "1.1"} and len({row["sha256"] for row in rows[:12]}) == 12
    assert len(corpus(tmp_path, [voices], resample=[0.9, 1.1])[1]) == 24


@pytest.mark.parametrize("factor", [0.85, 0.9, 1.0, 1.12])
def test_a_copy_has_its_frequencies_times_the_factor(factor):
    sound = speech.scale_voice(tone(4, 200), factor)
    assert abs(len(sound) - 32000 / factor) <= 1
    spectrum = np.abs(np.fft.rfft(sound[1000:25000] * np.hanning(24000)))
    assert abs(np.argmax(spectrum) / 3 - 200 * factor) < 0.4
    assert abs(np.sqrt(np.mean(sound[1000:25000].astype(float) ** 2)) / tone(4, 200).std() - 1) < 0.01


def test_long_runs_of_zeros_are_cut_and_short_ones_stay():
    parts = [np.zeros(5000), np.ones(3), np.zeros(2400), np.ones(2), np.zeros(2401), np.ones(1), np.zeros(9999)]
    expected = [np.zeros(2400), np.ones(3), np.zeros(2400), np.ones(2), np.zeros(2400), np.ones(1), np.zeros(2400)]
    assert np.array_equal(speech.shorten_zeros(np.concatenate(parts), 2400), np.concatenate(expected))


def test_zeros_are_cut_in_a_corpus(tmp_path):
    sound = np.concatenate([tone(0.5), np.zeros(16000, np.int16), tone(0.5)])
    soundfile.write(tmp_path / "a.wav", sound, 8000)
    assert len(corpus(tmp_path, [tmp_path / "a.wav"])[0]) == pytest.approx(8000 + 2400, abs=82)


def test_own_files_of_any_rate_and_channels_are_taken(tmp_path):
    soundfile.write(tmp_path / "é a.wav", np.stack([tone(1, rate=44100)] * 2, 1), 44100)
    soundfile.write(tmp_path / "b.flac", tone(0.5, 310, 16000), 16000)
    (tmp_path / "c.raw").write_bytes(tone(0.25, 90).tobytes())
    inputs = [tmp_path / "é a.wav", tmp_path / "b.flac", tmp_path / "c.raw"]
    sound, rows = corpus(tmp_path / "out", inputs)
    assert len(sound) == 14000
    assert sorted(row["path"] for row in rows) == sorted(map(str, inputs))
    assert np.array_equal(sound, corpus(tmp_path / "out", inputs[::-1])[0])


@pytest.mark.parametrize("data", [b"", b"no audio", wav(np.zeros(8000, np.int16)), wav(tone(0.001)), None])
def test_a_bad_file_of_the_users_own_is_an_error_that_names_it(tmp_path, data):
    soundfile.write(tmp_path / "good.wav", tone(1), 8000)
    if data is not None:
        (tmp_path / "bad.wav").write_bytes(data)
    with pytest.raises(InputError, match=r"bad\.wav: "):
        corpus(tmp_path, [tmp_path / "good.wav", tmp_path / "bad.wav"])
    assert not (tmp_path / "c.raw").exists()


def test_nothing_usable_is_one_error(tmp_path, voices):
    with pytest.raises(InputError, match=r"a\.tar: no usable speech: 19 audio files, 1 of them chosen") as error:
        corpus(tmp_path, [voices], include=["silence/*"])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "c.raw").exists()


def test_an_equaliser_keeps_the_level_and_changes_the_colour():
    noise = np.random.default_rng(3).normal(0, 1000, 16000).astype(np.int16)
    assert speech.colour(noise, 0.0, "1") is noise
    coloured = speech.colour(noise, 4.0, "1")
    assert coloured.std() == pytest.approx(noise.std(), rel=0.01)
    assert (coloured == speech.colour(noise, 4.0, "1")).all()
    assert (coloured != speech.colour(noise, 4.0, "2")).any()
    power = [np.abs(np.fft.rfft(x.astype(float))) ** 2 for x in (noise, coloured)]
    bands = [10 * np.log10(p[: len(p) // 16 * 16].reshape(16, -1).sum(axis=1)) for p in power]
    assert 2 < np.std(bands[1] - bands[0]) < 12


def test_a_corpus_is_equalised_file_by_file(tmp_path):
    rng = np.random.default_rng(5)
    for name in "ab":
        files.write_speech(tmp_path / f"{name}.raw", rng.normal(0, 1000, 8000).astype(np.int16))
    own = [tmp_path / "a.raw", tmp_path / "b.raw"]
    speech.prepare_corpus_part(own, {}, tmp_path / "plain.raw", tmp_path / "m.csv")
    speech.prepare_corpus_part(own, {"equalise": 4.0}, tmp_path / "coloured.raw", tmp_path / "m.csv")
    plain, coloured = files.read_speech(tmp_path / "plain.raw"), files.read_speech(tmp_path / "coloured.raw")
    assert len(plain) == len(coloured) == 16000
    gains = [
        np.abs(np.fft.rfft(coloured[part].astype(float))).reshape(-1)[1:] / np.abs(np.fft.rfft(plain[part]))[1:]
        for part in (slice(0, 8000), slice(8000, None))
    ]
    assert np.median(np.abs(20 * np.log10(gains[0] / gains[1]))) > 1
