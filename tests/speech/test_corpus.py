"""Obtaining speech and cutting samples and training corpora from it."""

import contextlib
import csv
import errno
import gzip
import hashlib
import http.server
import io
import json
import lzma
import os
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlquant.core import records
from mlquant.core.blocks import validate
from mlquant.core.containers import SUFFIXES
from mlquant.core.errors import InputError
from mlquant.core.records import read_speech
from mlquant.plan import config
from mlquant.speech import archives, corpus, fetch, settings
from mlquant.speech.archives import matches, member
from mlquant.speech.corpus import prepare_corpus_part, prepare_sample
from mlquant.speech.fetch import fetch_source


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


def fetched(tmp_path, source, **options):
    """Fetch into tmp_path; returns the archive's content by path, in its order, and the manifest."""
    archive, manifest = tmp_path / "out/a.tar", tmp_path / "out/a.json"
    fetch_source(source, archive, manifest, **options)
    with tarfile.open(archive) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}, json.loads(manifest.read_text())


def left_behind(tmp_path):
    """What a failed fetch into tmp_path left."""
    return sorted((tmp_path / "out").rglob("*"))


def archive_of(tmp_path, files):
    fetched(tmp_path, {"urls": [{"url": url_of(tmp_path / "in.tar", tar_bytes(files))}]})
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
    files, manifest = fetched(tmp_path, {"urls": [{"url": url, "sha256": sha256(data).upper()}]})
    assert files == KEPT and list(files) == sorted(files)
    assert manifest["available"] and manifest["obtained_from"] == url and manifest["sha256"] == sha256(data)
    assert manifest["files"] == [{"path": p, "bytes": len(d), "sha256": sha256(d)} for p, d in KEPT.items()]


def test_what_the_log_tells_of_a_file_in_an_archive_names_both(tmp_path, capsys):
    file = io.BytesIO()
    soundfile.write(file, tone(0.5) / 4000, 8000, "FLOAT", format="WAV")
    archive = archive_of(tmp_path, {"d/loud.wav": file.getvalue()})
    prepare_sample(archive, tmp_path / "s.raw", "d/loud.wav")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {archive}: d/loud.wav: ") and "samples are clipped" in line


@pytest.mark.parametrize("pack", [tar_bytes, zip_bytes])
def test_every_suffix_of_audio_is_kept_and_what_is_not_read_is_listed_once(tmp_path, capsys, pack):
    kept = {f"a/{i}{suffix}": bytes([i]) for i, suffix in enumerate(SUFFIXES)}
    data = pack(kept | {"a/x.m4a": b"x", "a/y.AAC": b"y", "a/read.txt": b"t"})
    assert fetched(tmp_path, {"urls": [{"url": url_of(tmp_path / "x.zip", data)}]})[0] == dict(sorted(kept.items()))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("audio that is not read is left out: 2 (a/x.m4a, a/y.AAC)")
    url = url_of(tmp_path / "voice.m4a", b"x" * 99)
    with pytest.raises(InputError, match=r"voice.m4a is not read, expected wav, flac, ogg"):
        fetched(tmp_path, {"urls": [{"url": url}]})


def test_the_archive_has_the_same_bytes_however_the_files_came(tmp_path):
    archives = []
    for name, data in (("a.zip", zip_bytes(FILES)), ("b.deb", deb_bytes(dict(reversed(FILES.items()))))):
        fetched(tmp_path, {"urls": [{"url": url_of(tmp_path / name, data)}]})
        archives.append((tmp_path / "out/a.tar").read_bytes())
    assert archives[0] == archives[1]


def test_a_url_of_one_audio_file_gives_that_file(tmp_path):
    files, _ = fetched(tmp_path, {"urls": [{"url": url_of(tmp_path / "two lines.raw", b"\1\2" * 100)}]})
    assert files == {"two lines.raw": b"\1\2" * 100}


@pytest.mark.parametrize("pack", [tar_bytes, zip_bytes])
def test_paths_that_lead_out_of_the_archive_are_left_out(tmp_path, pack):
    data = pack({"../up.wav": b"1", "a/../../b.raw": b"2", "/etc/c.flac": b"3", "good/d.raw": b"4"})
    files, _ = fetched(tmp_path, {"urls": [{"url": url_of(tmp_path / "in/x.tar", data)}]})
    assert files == {"good/d.raw": b"4"}
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.json", "a.tar", "in", "out", "x.tar"]


def test_links_are_left_out(tmp_path):
    link = zipfile.ZipInfo("secret.wav")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    for data in (
        tar_bytes({"a.raw": b"1"}, links=[("secret.wav", "/etc/passwd")]),
        zip_bytes({link: b"/etc/passwd", "a.raw": b"1"}),
    ):
        assert fetched(tmp_path, {"urls": [{"url": url_of(tmp_path / "x.tar", data)}]})[0] == {"a.raw": b"1"}


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
        fetched(tmp_path, {"name": "it", "urls": [{"url": url_of(tmp_path / name, data)}]})
    assert "\n" not in str(error.value)
    assert not left_behind(tmp_path)


def test_an_archive_without_audio_and_one_too_large_are_refused(tmp_path, monkeypatch):
    url = url_of(tmp_path / "a.tar", tar_bytes({"readme.txt": b"text"}))
    with pytest.raises(InputError, match="holds no audio"):
        fetched(tmp_path, {"urls": [{"url": url}]})
    monkeypatch.setattr(archives, "LIMIT", 20000)
    bomb = url_of(tmp_path / "b.tar.xz", tar_bytes({"a.raw": bytes(30000)}, "w:xz"))
    with pytest.raises(InputError, match="holds more than 20000 bytes"):
        fetched(tmp_path, {"urls": [{"url": bomb}]})
    with pytest.raises(InputError, match="more than 20000 bytes"):
        fetched(tmp_path, {"urls": [{"url": url_of(tmp_path / "c.raw", bytes(30000))}]})


def test_the_archive_has_the_bytes_that_it_always_had(tmp_path):
    files = {"b/été.raw": b"\1\2" * 3000, "a.wav": wav(tone(0.1)), "c" * 120 + ".flac": b"x"}
    archive = archive_of(tmp_path, files)
    assert sha256(archive.read_bytes()) == "9b76292f3c29ae391c95ed502794fc02002ec6146fbc351d1f74d58ba34ac690"


def header(name, size=0, kind=tarfile.REGTYPE):
    """A header of a tar that claims `size` bytes, as no library writes it."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    block[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(block))[0]
    return bytes(block)


def filled(data):
    return data + bytes(-len(data) % 512)


def with_flags(data, flags=0, method=None):
    """A zip of one file with other flags and method in both of its headers."""
    data = bytearray(data)
    for magic, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.rfind(magic) + place
        data[at : at + 2] = flags.to_bytes(2, "little")
        if method is not None:
            data[at + 2 : at + 4] = method.to_bytes(2, "little")
    return bytes(data)


def with_size(data, size):
    """A zip of one file whose directory claims another size of it."""
    at = data.rfind(b"PK\1\2") + 24
    return data[:at] + size.to_bytes(4, "little") + data[at + 4 :]


END = bytes(1024)
ZIPPED = zip_bytes({"a.raw": b"12" * 100})
PAX = filled(b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n")
HUGE = 100 << 30


HOSTILE = {
    "a file of 100 GB": (header("a.wav", HUGE) + filled(b"1") + END, "a.wav has 107374182400 bytes"),
    "a header of 100 GB": (header("a.wav", HUGE, b"x") + filled(b"1") + END, "a header claims"),
    "a name of 100 GB": (header("a.wav", HUGE, b"L") + filled(b"1") + END, "a header claims"),
    "headers without end": ((header("h", 10, b"x") + filled(b"10 aaa=11\n")) * 5000, "a header claims"),
    "a size beyond all numbers": (header("a.wav", 2**80) + END, f"a.wav has {2**80} bytes"),
    "a negative size": (header("a.wav", -512) + END, "a.wav has -512 bytes"),
    "a negative size in words": (
        header("h", 15, b"x") + filled(b"14 size=-1024\n") + header("a.wav") + END,
        "a.wav has -1024 bytes",
    ),
    "a map of holes without end": (
        header("h", 44, b"x") + PAX + header("a.wav", 2048) + filled(b"999999999\n" + b"1\n" * 9999) + END,
        "a header claims",
    ),
    "a damaged second header": (
        header("a.raw", 1) + filled(b"1") + b"junk" + header("b.raw")[4:] + END,
        "no header at byte 1024",
    ),
    "a name twice": (tar_bytes({"./a.raw": b"1", "a.raw": b"2"}), "holds a.raw twice"),
    "a name twice in a zip": (
        zip_bytes({"a.raw": b"1", "b.raw": b"2"}).replace(b"b.raw", b"a.raw"),
        "holds a.raw twice",
    ),
    "an encrypted zip": (with_flags(ZIPPED, flags=1), "encrypted"),
    "a zip that unfolds at once": (with_flags(ZIPPED, method=zipfile.ZIP_BZIP2), "compressed by method 12"),
    "a zip that claims more": (with_size(ZIPPED, 201), "unexpected end of data"),
    "a zip that claims 4 GB": (with_size(ZIPPED, 0xFFFFFFFE), "holds more than"),
    "a zip that claims less": (with_size(ZIPPED, 199), "CRC"),
    "a name in a zip that is no UTF-8": (
        with_flags(zip_bytes({"é.raw": b"1"}).replace("é".encode(), b"\xff\xff"), flags=0x800),
        "decode",
    ),
    "a package with a negative member": (
        b"!<arch>\n" + f"{'x':<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{-60:<10}`\n".encode(),
        "no ar header at byte 8",
    ),
    "a tar in a compressed tar": (gzip.compress(gzip.compress(tar_bytes(FILES))), "header"),
    "an endless stream of xz": (tar_bytes(FILES, "w:xz")[:-12], "ends before its stream does"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_one_error_and_neither_memory_nor_time(tmp_path, monkeypatch, case):
    monkeypatch.setattr(archives, "WHOLE_SECONDS", 20)
    data, reason = HOSTILE[case]
    url = url_of(tmp_path / "x", data)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=rf"source it: {url}: x is corrupt or no archive \(.*{reason}") as error:
            fetched(tmp_path, {"name": "it", "urls": [{"url": url}]})
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert not left_behind(tmp_path)


def test_a_name_of_32_MB_is_not_read(tmp_path):
    with gzip.open(tmp_path / "x", "wb", compresslevel=1) as file:
        for piece in (header("a", 32 << 20, b"L"), b"a" * (32 << 20), header("b"), END):
            file.write(piece)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="a header claims"):
            fetched(tmp_path, {"urls": [{"url": (tmp_path / "x").as_uri()}]})
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


def test_devices_pipes_folders_and_holes_are_left_out_like_links(tmp_path):
    odd = [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, b"S"]
    data = b"".join(header(f"{i}.wav", kind=kind) for i, kind in enumerate(odd)) + tar_bytes({"a.raw": b"1"})
    assert fetched(tmp_path, {"urls": [{"url": url_of(tmp_path / "x.tar", data)}]})[0] == {"a.raw": b"1"}


@pytest.mark.parametrize("pack", [tar_bytes, zip_bytes])
def test_an_archive_of_too_many_files_or_names_is_refused(tmp_path, monkeypatch, pack):
    url = url_of(tmp_path / "x", pack({f"{i}.txt": b"" for i in range(9)} | {f"{'n' * 99}.raw": b"1"}))
    monkeypatch.setattr(archives, "MEMBERS", 10)
    assert len(fetched(tmp_path, {"urls": [{"url": url}]})[0]) == 1
    for limit, value in (("MEMBERS", 9), ("NAMES", 99)):
        with monkeypatch.context() as patch, pytest.raises(InputError, match=f"holds more than .*{value}"):
            patch.setattr(archives, limit, value)
            fetched(tmp_path, {"urls": [{"url": url}]})


def test_a_directory_of_a_zip_and_the_memory_of_xz_have_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "DIRECTORY", 2000)
    monkeypatch.setattr(archives, "XZ_MEMORY", 1 << 20)
    for data, reason in (
        (zip_bytes({f"{i}.raw": b"1" for i in range(100)}), "a header claims"),
        (tar_bytes(FILES, "w:xz"), "Memory usage limit"),
    ):
        with pytest.raises(InputError, match=reason):
            fetched(tmp_path, {"urls": [{"url": url_of(tmp_path / "x", data)}]})


def test_xz_streams_one_behind_the_other_are_one_file(tmp_path):
    data = tar_bytes(FILES)
    parts = lzma.compress(data[:3000]) + bytes(8) + lzma.compress(data[3000:])
    assert fetched(tmp_path, {"urls": [{"url": url_of(tmp_path / "x.tar.xz", parts)}]})[0] == KEPT


def test_archives_pass_through_files_not_through_memory(tmp_path):
    files = {"big.wav": bytes(32 << 20), "small.raw": SOUND}
    deflated = io.BytesIO()
    with zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, data in files.items():
            bundle.writestr(name, data)
    urls = [
        url_of(tmp_path / f"x{i}", data)
        for i, data in enumerate((tar_bytes(files, "w:gz"), deflated.getvalue(), deb_bytes(files)))
    ]
    tracemalloc.start()
    try:
        for url in urls:
            fetch_source({"urls": [{"url": url}]}, tmp_path / "a.tar", tmp_path / "a.json")
            assert member(tmp_path / "a.tar", "small.raw") == ("small.raw", SOUND)
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


def test_a_zstd_package_goes_through_dpkg_or_says_that_it_cannot(tmp_path, no_apt):
    data = deb_bytes(FILES, data_name="data.tar.zst", content=b"compressed")
    source = {"urls": [{"url": url_of(tmp_path / "z.deb", data)}]}
    with pytest.raises(InputError, match="needs dpkg-deb, which is not installed"):
        fetched(tmp_path, source)
    (tmp_path / "nothing").mkdir()
    (tmp_path / "plain.tar").write_bytes(tar_bytes(FILES))
    (tmp_path / "nothing/dpkg-deb").write_text(f"#!/bin/sh\nexec /bin/cat {tmp_path}/plain.tar\n")
    (tmp_path / "nothing/dpkg-deb").chmod(0o755)
    assert fetched(tmp_path, source)[0] == KEPT


def test_urls_are_tried_in_order_and_a_wrong_checksum_is_a_failure(tmp_path):
    bad, good = tar_bytes({"bad.raw": b"1"}), tar_bytes({"good.raw": b"2"})
    wrong = {"url": url_of(tmp_path / "bad.tar", bad), "sha256": sha256(good)}
    right = {"url": url_of(tmp_path / "good.tar", good), "sha256": sha256(good)}
    gone = {"url": (tmp_path / "gone.tar").as_uri()}
    files, manifest = fetched(tmp_path, {"urls": [gone, wrong, right]})
    assert list(files) == ["good.raw"] and manifest["obtained_from"] == right["url"]
    with pytest.raises(InputError) as error:
        fetched(tmp_path, {"name": "mine", "urls": [gone, wrong, {"url": "ftp://x/y.tar"}]})
    text = str(error.value)
    assert text.startswith(f"source mine: {gone['url']}: ") and "\n" not in text
    assert f"{wrong['url']}: checksum {sha256(bad)}, expected {sha256(good)}" in text
    assert "url: found 'ftp://x/y.tar', expected https" in text


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.raw",
        "HTTP://example.org/a.raw",
        "http://127.0.0.1.example.org/a.raw",
        "http://localhost.example.org/a.raw",
        "http://127.1/a.raw",
        "http://[::2]/a.raw",
        "http://[::1/a.raw",
        "ftp://example.org/a.raw",
        "data:,abc",
        "/etc/a.raw",
        "",
        "https://example.org/two\nlines.raw",
    ],
)
def test_a_url_is_https_or_of_this_machine(tmp_path, url):
    for key, block, data in (
        ("s: urls.0", settings.Source, {"urls": [{"url": url, "sha256": "0" * 64}]}),
        ("s", config.Sample, {"url": url, "sha256": "0" * 64}),
    ):
        with pytest.raises(InputError) as error:
            validate(block, data, "s")
        assert str(error.value).startswith(f"{key}: url: found ") and "expected https" in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"source it: url: found .*, expected https"):
        fetched(tmp_path, {"name": "it", "urls": [{"url": url, "sha256": "0" * 64}]})
    assert not left_behind(tmp_path)


@pytest.mark.parametrize(
    "url", ["https://h/a", "HTTPS://h/a", "http://localhost:8/a", "http://127.9.9.9/a", "http://[::1]:8/a"]
)
def test_a_url_of_the_network_has_a_checksum(tmp_path, url):
    source = {"urls": [{"url": url, "sha256": "0" * 64}]}
    assert validate(settings.Source, source, "s") and validate(config.Sample, source["urls"][0], "s")
    del source["urls"][0]["sha256"]
    for key, block, data in (("s: urls.0", settings.Source, source), ("s", config.Sample, source["urls"][0])):
        with pytest.raises(InputError) as error:
            validate(block, data, "s")
        assert str(error.value) == f"{key}: sha256: is missing, expected the checksum of {url}"
    with pytest.raises(InputError, match=r"sha256: is missing, expected the checksum of "):
        fetched(tmp_path, source)
    assert validate(settings.Source, {"urls": [{"url": "file:///a"}]}, "s")


def test_a_password_in_a_url_is_refused_and_not_shown(tmp_path):
    source = {"urls": [{"url": "https://me:secret@example.org/a.raw", "sha256": "0" * 64}]}
    with pytest.raises(InputError, match=r"urls\.0: url: has a user name or password, expected none") as error:
        validate(settings.Source, source, "source")
    assert "secret" not in str(error.value)


@pytest.fixture
def waits(monkeypatch):
    """The seconds that a download would have waited before it tried again."""
    seconds = []
    monkeypatch.setattr(fetch.time, "sleep", seconds.append)
    return seconds


def test_only_failures_that_may_pass_are_tried_again(tmp_path, monkeypatch, waits):
    calls = []

    def download(url, path):
        calls.append(url)
        if len(calls) < 3 or "never" in url:
            raise ConnectionResetError(104, "Connection reset by peer")
        path.write_bytes(b"\1\2")

    monkeypatch.setattr(fetch, "_download", download)
    known = {"sha256": sha256(b"\1\2")}
    assert fetched(tmp_path, {"urls": [{"url": "https://h/a.raw"} | known]})[0] == {"a.raw": b"\1\2"}
    assert len(calls) == 3 and waits == [1, 4]
    with pytest.raises(InputError, match=r"https://h/never\.raw: Connection reset by peer$"):
        fetched(tmp_path, {"urls": [{"url": "https://h/never.raw"} | known]})
    assert len(calls) == 7 and waits == [1, 4, 1, 4, 16]
    monkeypatch.undo()
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: pytest.fail("tried again"))
    with pytest.raises(InputError, match="No such file"):
        fetched(tmp_path, {"urls": [{"url": "file:///no/such/file.tar"}]})


@pytest.mark.parametrize("full", ["download", "plain.tar"])
def test_a_full_disk_is_no_failure_of_a_url(tmp_path, monkeypatch, full):
    save = archives.save

    def save_or_fail(chunks, path):
        if path.name == full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(chunks, path)

    for module in (archives, fetch):
        monkeypatch.setattr(module, "save", save_or_fail)
    urls = [{"url": url_of(tmp_path / name, tar_bytes(FILES, "w:gz"))} for name in ("a.tgz", "b.tgz")]
    with pytest.raises(OSError, match="No space left"):
        fetched(tmp_path, {"urls": urls})
    assert not left_behind(tmp_path)


@pytest.fixture
def serve():
    """Start a server on the loopback address, which answers as the given function of its handler does."""
    servers = []

    def start(answer, tls=None):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    answer(self)

            do_CONNECT = do_GET

            def log_message(self, *arguments):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *arguments: None
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
        return f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def reply(handler, data=b"", status=200, **headers):
    handler.send_response(status)
    for name, value in ({"Content_Length": len(data)} | headers).items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(data)


SOUND = b"\1\2" * 500


def at(url, data=SOUND):
    return {"url": url, "sha256": sha256(data)}


def test_a_server_is_asked_again_when_busy_or_cut_off_and_not_for_what_it_lacks(tmp_path, serve, waits):
    asked = []

    def answer(handler):
        asked.append(handler.path)
        turn = len(asked)
        status = 404 if "lost" in handler.path else 503 if turn == 1 else 200
        reply(handler, SOUND[:100] if turn == 2 else SOUND, status, Content_Length=len(SOUND))

    base = serve(answer)
    assert fetched(tmp_path, {"urls": [at(f"{base}/a%20b.raw?raw=1")]})[0] == {"a b.raw": SOUND}
    assert len(asked) == 3 and waits == [1, 4]
    with pytest.raises(InputError, match=r"/lost\.raw: HTTP Error 404: Not Found$"):
        fetched(tmp_path, {"urls": [at(f"{base}/lost.raw")]})
    assert len(asked) == 4


def test_a_server_that_asks_for_a_pause_gets_it_up_to_a_minute(tmp_path, serve, waits):
    asked = []

    def answer(handler):
        asked.append(handler.path)
        pause = {1: "7", 2: "9" * 5000, 3: "Fri, 31 Dec 1999 23:59:59 GMT"}.get(len(asked))
        reply(handler, SOUND, 429 if pause else 200, **({"Retry_After": pause} if pause else {}))

    assert fetched(tmp_path, {"urls": [at(serve(answer) + "/a.raw")]})[0] == {"a.raw": SOUND}
    assert waits == [7, 60, 16]


def test_what_is_cut_off_or_of_another_checksum_is_never_used_and_the_mirror_is(tmp_path, serve, waits):
    def answer(handler):
        cut, other = "cut" in handler.path, "other" in handler.path
        reply(handler, SOUND[:100] if cut else SOUND[::-1] if other else SOUND, Content_Length=len(SOUND))

    base = serve(answer)
    bad = [at(f"{base}/cut.raw"), at(f"{base}/other.raw")]
    files, manifest = fetched(tmp_path, {"urls": [*bad, at(f"{base}/good.raw")]})
    assert files == {"good.raw": SOUND} and manifest["obtained_from"] == f"{base}/good.raw"
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(InputError, match=r"cut\.raw: IncompleteRead.*; .*other\.raw: checksum [0-9a-f]+, expected"):
        fetched(tmp_path, {"urls": bad})
    assert not left_behind(tmp_path)


def test_a_download_has_limits_of_size_silence_and_time(tmp_path, serve, monkeypatch):
    over = threading.Event()
    sent = []

    def answer(handler):
        if "claim" in handler.path:
            reply(handler, Content_Length=20001)
        elif "endless" in handler.path:
            handler.send_response(200)
            handler.end_headers()
            while len(sent) < 400:
                sent.append(handler.wfile.write(bytes(100_000)))
        elif "silent" in handler.path:
            reply(handler, SOUND[:10], Content_Length=len(SOUND))
            over.wait(20)
        else:
            reply(handler, Content_Length=len(SOUND))
            while not over.wait(0.02):
                handler.wfile.write(b"1")

    base = serve(answer)
    for module in (archives, fetch):
        monkeypatch.setattr(module, "LIMIT", 20000)
    monkeypatch.setattr(fetch, "URL_SECONDS", 0.5)
    monkeypatch.setattr(archives, "WHOLE_SECONDS", 1)
    for path, reason in [
        ("claim", "20001 bytes, more than 20000 bytes"),
        ("endless", "holds more than 20000 bytes"),
        ("silent", "timed out"),
        ("trickle", "not complete after 1 s"),
    ]:
        with pytest.raises(InputError, match=rf"/{path}\.raw: {reason}$"):
            fetched(tmp_path, {"urls": [at(f"{base}/{path}.raw")]})
        assert not left_behind(tmp_path)
    over.set()
    assert len(sent) < 400
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
@pytest.mark.usefixtures("interruptible")
def test_a_download_that_is_stopped_leaves_nothing_to_be_taken_for_whole(tmp_path, serve, number, status):
    over = threading.Event()

    def answer(handler):
        reply(handler, SOUND[:10], Content_Length=len(SOUND))
        over.wait(60)

    out = tmp_path / "out"
    code = "import sys; from mlquant.cli import main; sys.argv[0] = 'mlquant'; main()"
    source = json.dumps({"urls": [at(serve(answer) + "/a.raw")]})
    command = [sys.executable, "-c", code, "fetch", source, "-o", str(out / "a.tar"), "--manifest", str(out / "a.json")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(600):
            if any(path.is_file() for path in left_behind(tmp_path)) or process.poll() is not None:
                break
            time.sleep(0.05)
        process.send_signal(number)
        complaint = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        over.set()
    assert process.returncode == status and "Traceback" not in complaint
    if number == signal.SIGKILL:  # what this leaves has another name, and goes with the next run
        assert left_behind(tmp_path) and not {"a.tar", "a.json"} & {path.name for path in left_behind(tmp_path)}
        fetched(tmp_path, {"urls": [{"url": url_of(tmp_path / "a.raw", SOUND)}]})
        assert [path.name for path in left_behind(tmp_path)] == ["a.json", "a.tar"]
    else:
        assert not left_behind(tmp_path)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A self-signed certificate of this machine, and the server's side of its use."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl on this machine")
    folder = tmp_path_factory.mktemp("certificate")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    command += " -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", tls


def test_https_is_taken_from_a_server_that_can_show_who_it_is(tmp_path, serve, certificate, monkeypatch):
    path, tls = certificate
    url = serve(lambda handler: reply(handler, SOUND), tls) + "/a.raw"
    with pytest.raises(InputError, match=r"a\.raw: .*certificate verify failed[^;]*$"):
        fetched(tmp_path, {"urls": [at(url)]})
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    files, manifest = fetched(tmp_path, {"urls": [at(url)]})
    assert files == {"a.raw": SOUND} and manifest["obtained_from"] == url


def test_a_redirect_leads_to_https_only(tmp_path, serve, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    monkeypatch.setattr(archives, "WHOLE_SECONDS", 10)
    asked, sent, targets = [], [], {}

    def plain(handler):
        asked.append(handler.path)
        reply(handler, SOUND)

    def answer(handler):
        if handler.path not in targets:
            return reply(handler, SOUND)
        reply(handler, status=302, Location=targets[handler.path], Content_Length=10**10)
        while True:  # what comes with a redirect need not end
            sent.append(handler.wfile.write(bytes(100_000)))

    base, http_base = serve(answer, certificate[1]), serve(plain)
    (tmp_path / "secret.raw").write_bytes(SOUND)
    targets |= {"/up.raw": "/found.raw", "/down.raw": f"{http_base}/a.raw", "/away.raw": "http://example.org/a.raw"}
    targets |= {"/own.raw": (tmp_path / "secret.raw").as_uri(), "/ftp.raw": "ftp://127.0.0.1/a.raw"}
    assert fetched(tmp_path, {"urls": [at(f"{base}/up.raw")]})[0] == {"up.raw": SOUND}
    shutil.rmtree(tmp_path / "out")
    for path in ("down", "away", "ftp"):
        with pytest.raises(InputError, match=rf"{path}\.raw: redirects to {targets[f'/{path}.raw']}, expected https"):
            fetched(tmp_path, {"urls": [at(f"{base}/{path}.raw")]})
    with pytest.raises(InputError, match=r"own\.raw: .*Redirection to url 'file:.* is not allowed"):
        fetched(tmp_path, {"urls": [at(f"{base}/own.raw")]})
    assert not asked and not left_behind(tmp_path)
    targets |= {"/loop.raw": "/loop.raw"}
    with pytest.raises(InputError, match=r"loop\.raw: HTTP Error 302: .*infinite loop"):
        fetched(tmp_path, {"urls": [at(f"{base}/loop.raw")]})


def test_without_a_network_the_message_says_so_or_names_the_proxy(tmp_path, serve, monkeypatch, waits, no_apt):
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with contextlib.closing(http.server.HTTPServer(("127.0.0.1", 0), None).socket) as taken:
        closed = f"127.0.0.1:{taken.getsockname()[1]}"
    urls = [at(f"https://{closed}/a.raw"), at("https://no-such-name.invalid/b.raw")]
    with pytest.raises(InputError) as error:
        fetched(tmp_path, {"name": "it", "package": "p", "urls": urls})
    assert str(error.value).startswith(f"source it: apt-get: not found; https://{closed}/a.raw: Connection refused; ")
    assert str(error.value).endswith("; no network, or a proxy is needed: set https_proxy")

    for status, answer in ((None, closed), (407, serve(lambda handler: reply(handler, status=407)).split("//")[1])):
        monkeypatch.setenv("https_proxy", f"http://me:secret@{answer}")
        with pytest.raises(InputError) as error:
            fetched(tmp_path, {"urls": urls[1:]})
        assert (f"{status} Proxy Authentication" if status else "Connection refused") in str(error.value)
        assert f"; the proxy {answer}, which https_proxy names, " in str(error.value)
        assert "secret" not in str(error.value)
    for proxy in ("http://me:secret", f"me:se/secret@{closed}/"):
        monkeypatch.setenv("https_proxy", proxy)
        with pytest.raises(InputError, match="no url that can be used") as error:
            fetched(tmp_path, {"urls": urls[1:]})
        assert "secret" not in str(error.value)

    # A server that answered is there, whatever the others are.
    base = serve(lambda handler: reply(handler, status=404))
    monkeypatch.delenv("https_proxy")
    with pytest.raises(InputError, match=r"404: Not Found$"):
        fetched(tmp_path, {"urls": [at(f"{base}/c.raw")]})


def test_this_machine_is_never_asked_through_a_proxy(tmp_path, serve, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", serve(lambda handler: reply(handler, b"of the proxy")))
    base = serve(lambda handler: reply(handler, SOUND))
    assert fetched(tmp_path, {"urls": [at(f"{base}/a.raw")]})[0] == {"a.raw": SOUND}


def test_apt_is_given_a_folder_of_its_own_and_its_package_is_unpacked(tmp_path, fake_apt):
    (tmp_path / "made.deb").write_bytes(deb_bytes(FILES))
    fake_apt(f"[ $what = update ] || cp {tmp_path}/made.deb ./p_1%3a2.0-1_all.deb\n")
    folder = tmp_path / "lists of apt"
    files, manifest = fetched(tmp_path, {"package": "p", "version": "1:2.0-1"}, apt_folder=folder)
    assert files == KEPT
    assert manifest["obtained_from"] == "apt package p version 1:2.0-1"
    assert manifest["sha256"] == sha256(deb_bytes(FILES))
    fetched(tmp_path, {"package": "p"}, apt_folder=folder)
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
    assert fetched(tmp_path, {"package": "p", "urls": [{"url": url}]})[1]["obtained_from"] == url
    with pytest.raises(InputError) as error:
        fetched(tmp_path, {"package": "p"})
    assert str(error.value).startswith("source p: ") and reason in str(error.value)


def test_package_lists_are_used_again_only_after_an_update_that_went_well(tmp_path, fake_apt):
    fake_apt(f"[ $what = update ] && [ ! -e {tmp_path}/net ] && echo 'W: Failed to fetch http://h' >&2; exit 0\n")
    for _ in range(4):
        with pytest.raises(InputError, match="0 files came"):
            fetched(tmp_path, {"package": "p"}, apt_folder=tmp_path / "lists")
        if (tmp_path / "calls").read_text().count(" update") == 2:
            (tmp_path / "net").touch()
    assert (tmp_path / "calls").read_text().count(" update") == 3
    assert (tmp_path / "calls").read_text().count(" download") == 4


def test_without_apt_an_optional_source_is_left_out_and_a_required_one_is_an_error(tmp_path, no_apt, capsys):
    source = {"name": "voice", "package": "p", "urls": [{"url": "file:///no/such/a.raw"}]}
    message = "source voice: apt-get: not found; file:///no/such/a.raw: No such file or directory"
    files, manifest = fetched(tmp_path, source, optional=True)
    assert files == {}
    assert manifest == {"source": source, "available": False, "reason": message, "files": []}
    assert message in capsys.readouterr().err
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(InputError) as error:
        fetched(tmp_path, source)
    assert str(error.value) == message
    assert not left_behind(tmp_path)
    with pytest.raises(InputError, match="neither package nor urls"):
        fetched(tmp_path, {"name": "nothing"})


@pytest.mark.slow
def test_a_real_package_comes_through_apt_and_changes_nothing_else(tmp_path):
    if not shutil.which("apt-get"):
        pytest.skip("no apt-get on this machine")
    lists = Path("/var/lib/apt/lists")
    before = sorted((p.name, p.stat().st_mtime_ns) for p in lists.glob("*")) if lists.exists() else None
    try:
        files, manifest = fetched(tmp_path, {"package": "codec2-examples"})
    except InputError as error:
        if not any(sign in str(error) for sign in ("Failed to fetch", "resolve", "Unable to locate package")):
            raise
        pytest.skip(f"apt reaches no such package here: {error}")
    assert manifest["obtained_from"].startswith("apt package codec2-examples version ")
    assert any(matches(path, "raw/hts1a.raw") for path in files)
    assert before == (sorted((p.name, p.stat().st_mtime_ns) for p in lists.glob("*")) if lists.exists() else None)


INSECURE = [
    "Acquire::AllowInsecureRepositories",
    "Acquire::AllowWeakRepositories",
    "Acquire::AllowDowngradeToInsecureRepositories",
    "APT::Get::AllowUnauthenticated",
]


def test_apt_runs_none_of_the_machines_own_hooks_and_wants_signatures(tmp_path):
    if not shutil.which("apt-config"):
        pytest.skip("no apt-config on this machine")
    allowed = [f'{option} "true";\n' for option in INSECURE]
    (tmp_path / "own").write_text('APT::Update::Post-Invoke { "touch /tmp/x"; };\n' + "".join(allowed))
    (tmp_path / "ours").write_text(fetch._APT_CONFIG)
    environment = os.environ | {"APT_CONFIG": str(tmp_path / "own")}

    def dump(*options):
        done = subprocess.run(["apt-config", *options, "dump"], env=environment, capture_output=True, text=True)
        return done.stdout

    ours = dump("-c", str(tmp_path / "ours"))
    assert "touch /tmp/x" in dump() and "touch /tmp/x" not in ours
    assert all(f'{option} "true";' in dump() and f'{option} "false";' in ours for option in INSECURE)


def test_apt_gives_nothing_from_a_repository_without_a_signature(tmp_path, monkeypatch):
    if not shutil.which("apt-get"):
        pytest.skip("no apt-get on this machine")
    repository = tmp_path / "repository"
    repository.mkdir()
    data = deb_bytes(FILES)
    (repository / "p_1_all.deb").write_bytes(data)
    (repository / "Packages").write_text(
        "Package: p\nVersion: 1\nArchitecture: all\nMaintainer: m\nDescription: d\n"
        f"Filename: ./p_1_all.deb\nSize: {len(data)}\nSHA256: {sha256(data)}\n"
    )
    (tmp_path / "sources.list").write_text(f"deb file:{repository} ./\n")
    (tmp_path / "own").write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
        + "".join(f'{option} "true";\n' for option in INSECURE)
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "own"))
    with pytest.raises(InputError, match=r"apt-get: .*\(update: E: The repository .* (is not signed|does not have)"):
        fetched(tmp_path, {"package": "p"})
    # The repository is as apt takes it where a user may be careless.
    for option in INSECURE:
        monkeypatch.setattr(fetch, "_APT_CONFIG", fetch._APT_CONFIG.replace(f'{option} "false"', f'{option} "true"'))
    assert fetched(tmp_path, {"package": "p"})[0] == KEPT


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
    fetched(tmp_path, {"package": "p"}, optional=True)
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


@pytest.mark.parametrize("sample", ["big_dog", "two_lines", "hts1a", "kristoff", "mmt1"])
def test_a_raw_sample_passes_unchanged(reference, tmp_path, sample):
    path = reference(f"speech/{sample}.raw")
    prepare_sample(path, tmp_path / path.name)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def read_rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def corpus_of(tmp_path, inputs, **settings):
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
    sound, rows = corpus_of(tmp_path, [voices], seed=3)
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
    left_out = [line for line in capsys.readouterr().err.splitlines() if line.endswith("; it is left out")]
    assert len(left_out) == 5 and any(f"{voices}: usr/v/page.wav: not audio" in line for line in left_out)


def test_globs_choose_what_is_taken(tmp_path, voices, capsys):
    _, rows = corpus_of(tmp_path, [voices], include=["v/0?.wav", "nothing*"], exclude=["03.wav", "v/*5.wav"])
    assert sorted(row["path"][-6:] for row in rows) == [f"{i:02}.wav" for i in (0, 1, 2, 4, 6, 7, 8, 9)]
    assert "nothing matches include 'nothing*'" in capsys.readouterr().err


def test_test_samples_are_left_out_of_a_corpus_under_whatever_name(tmp_path, voices, capsys):
    _, before = corpus_of(tmp_path, [voices])
    (own := tmp_path / "eve.raw").write_bytes(tone(1, 100).tobytes())
    given = [str(own), next(row["sha256"] for row in before if row["path"].endswith("03.wav")).upper(), "0" * 64]
    prepare_corpus_part([voices], {"seed": 1}, tmp_path / "c.raw", tmp_path / "c.csv", given)
    with open(tmp_path / "c.csv", encoding="utf-8", newline="") as file:
        kept = {row["path"] for row in csv.DictReader(file)}
    gone = {row["path"] for row in before} - kept
    assert len(gone) == 2 and any(path.endswith("03.wav") for path in gone)
    said = [line for line in capsys.readouterr().err.splitlines() if "is a test sample" in line]
    assert gone < {line.split(" is ")[0] for line in said} and len(said) == 3, "a raw and a wav file of one sample"
    everything = [row["samples_sha256"] for row in before]
    with pytest.raises(InputError, match="no usable speech"):
        prepare_corpus_part([voices], {}, tmp_path / "d.raw", tmp_path / "d.csv", everything)


def test_a_test_sample_in_a_corpus_is_refused_by_the_checksum_of_its_samples(tmp_path, voices):
    corpus_of(tmp_path, [voices], include=["*"], resample=[1.1], equalise=3)
    manifest = tmp_path / "c.csv"
    others = {"ann": sha256(tone(1, 101).tobytes()), "bob": ""}
    corpus.refuse_samples(others, [manifest, manifest])
    for seconds, hertz in ((1, 100), (1.026, 120)):  # of a raw and a wav file
        with pytest.raises(InputError, match=r"c\.csv: usr/v/0\d\.(wav|raw) is the test sample eve.* exclude") as error:
            corpus.refuse_samples(others | {"eve": sha256(tone(seconds, hertz).tobytes())}, [manifest])
        assert "\n" not in str(error.value)
    old = tmp_path / "old.csv"
    old.write_text("path,sha256,factor,start_frame,frames\na,b,1.0,0,3\n")
    with pytest.raises(InputError, match=r"old\.csv: has no column samples_sha256"):
        corpus.refuse_samples(others, [old])


def test_the_order_depends_on_seed_and_content_only(tmp_path, voices):
    sound, rows = corpus_of(tmp_path, [voices], seed=1, minutes=0.1)
    assert np.array_equal(sound, corpus_of(tmp_path, [voices], seed=1, minutes=0.1)[0])
    assert rows != corpus_of(tmp_path, [voices], seed=2, minutes=0.1)[1]
    with tarfile.open(voices) as tar:
        moved = {f"pack-1.6/x{i:02}" + Path(m.name).suffix: tar.extractfile(m).read() for i, m in enumerate(tar)}
    upstream = archive_of(tmp_path / "up", moved)
    assert np.array_equal(sound, corpus_of(tmp_path, [upstream], seed=1, minutes=0.1)[0])


def test_minutes_are_kept_and_the_copies_share_them_with_different_files(tmp_path, voices):
    sound, rows = corpus_of(tmp_path, [voices], minutes=0.1, resample=[0.9, 1.0, 1.1])
    assert len(sound) == 6 * 8000
    assert [row["factor"] for row in rows][:6] == ["0.9", "1.0", "1.1"] * 2
    assert len({row["sha256"] for row in rows}) == len(rows)
    _, rows = corpus_of(tmp_path, [voices], minutes=10, resample=[0.9, 1.1])
    assert len({(row["sha256"], row["factor"]) for row in rows}) == len(rows) == 24
    assert {row["factor"] for row in rows[:12]} == {"0.9", "1.1"} and len({row["sha256"] for row in rows[:12]}) == 12
    assert len(corpus_of(tmp_path, [voices], resample=[0.9, 1.1])[1]) == 24


def words_of(tmp_path, spoken):
    """An archive of words in several languages: for each, how many words of how many seconds at which pitch."""
    files = {}
    for language, (count, seconds, hertz) in spoken.items():
        for i in range(count):
            sound = tone(seconds + 0.01 * i, hertz + 2 * i).astype(float) / 32768
            path = tmp_path / f"word.{'ogg' if i % 2 else 'wav'}"
            soundfile.write(path, np.stack([sound, sound], axis=1), 8000)
            files[f"usr/sounds/{language}/{i:02}{path.suffix}"] = path.read_bytes()
    return archive_of(tmp_path, files)


def minutes_of(rows):
    found = {}
    for row in rows:
        speaker = row["path"].split("/")[2]
        found[speaker] = found.get(speaker, 0) + int(row["frames"]) / 6000
    return found


def test_of_each_speaker_so_many_minutes_are_taken(tmp_path):
    archive = words_of(tmp_path, {"de": (30, 0.5, 100), "en": (3, 0.5, 200), "fr": (30, 0.5, 150)})
    each = {"speakers": r"sounds/([^/]+)/", "minutes_each": 0.1}
    _, rows = corpus_of(tmp_path, [archive], **each)
    found = minutes_of(rows)
    assert found == pytest.approx({"de": 0.1, "fr": 0.1, "en": 3 * 0.51 / 60}, rel=0.03)
    _, rows = corpus_of(tmp_path, [archive], **each, resample=[1.0, 1.05, 1.1])  # who has few words gets each again
    assert minutes_of(rows)["en"] == pytest.approx(3 * 3 * 0.51 / 1.05 / 60, rel=0.05)
    assert len({(row["sha256"], row["factor"]) for row in rows}) == len(rows)
    assert minutes_of(rows)["de"] == pytest.approx(0.1)
    for seed in range(8):  # what a speaker has beyond the limit does not count as speech of all
        _, rows = corpus_of(tmp_path, [archive], **each, minutes=0.15, seed=seed)
        assert sum(minutes_of(rows).values()) == pytest.approx(0.15) and max(minutes_of(rows).values()) <= 0.1001
    _, rows = corpus_of(tmp_path, [archive], **each, exclude=["sounds/fr/*"], held_out_speakers=1, held_out=True)
    assert len(minutes_of(rows)) == 1


def test_words_are_joined_with_pauses_that_do_not_click(tmp_path):
    archive = words_of(tmp_path, {"de": (6, 0.5, 100)})
    sound, rows = corpus_of(tmp_path, [archive], pause_ms=200)
    plain, same = corpus_of(tmp_path, [archive])
    assert [row["path"] for row in rows] == [row["path"] for row in same]
    assert all(0 <= int(a["frames"]) - int(b["frames"]) - 20 <= 1 for a, b in zip(rows, same, strict=True))
    for row, before in zip(rows, same, strict=True):
        start, first = 80 * int(row["start_frame"]), 80 * int(before["start_frame"])
        end = start + 80 * int(row["frames"])
        word = plain[first : first + 80 * int(before["frames"])].astype(int)
        length = np.flatnonzero(word)[-1] + 1
        assert np.array_equal(sound[start + 40 : start + length - 41], word[40 : length - 41])
        assert not sound[end - 1600 : end].any()
        assert abs(sound[start]) < 5 and abs(int(sound[start + length - 1])) < 5, "a step would click"


def test_a_pause_of_0_changes_nothing():
    word = tone(0.3)
    assert np.array_equal(corpus.with_pause(word, 0), word)
    assert len(corpus.with_pause(word[:30], 100)) == 830


@pytest.mark.parametrize("factor", [0.85, 0.9, 1.0, 1.12])
def test_a_copy_has_its_frequencies_times_the_factor(factor):
    sound = corpus.scale_voice(tone(4, 200), factor)
    assert abs(len(sound) - 32000 / factor) <= 1
    spectrum = np.abs(np.fft.rfft(sound[1000:25000] * np.hanning(24000)))
    assert abs(np.argmax(spectrum) / 3 - 200 * factor) < 0.4
    assert abs(np.sqrt(np.mean(sound[1000:25000].astype(float) ** 2)) / tone(4, 200).std() - 1) < 0.01


def test_long_runs_of_zeros_are_cut_and_short_ones_stay():
    parts = [np.zeros(5000), np.ones(3), np.zeros(2400), np.ones(2), np.zeros(2401), np.ones(1), np.zeros(9999)]
    expected = [np.zeros(2400), np.ones(3), np.zeros(2400), np.ones(2), np.zeros(2400), np.ones(1), np.zeros(2400)]
    assert np.array_equal(corpus.shorten_zeros(np.concatenate(parts), 2400), np.concatenate(expected))


def test_zeros_are_cut_in_a_corpus(tmp_path):
    sound = np.concatenate([tone(0.5), np.zeros(16000, np.int16), tone(0.5)])
    soundfile.write(tmp_path / "a.wav", sound, 8000)
    assert len(corpus_of(tmp_path, [tmp_path / "a.wav"])[0]) == pytest.approx(8000 + 2400, abs=82)


def test_own_files_of_any_rate_and_channels_are_taken(tmp_path):
    soundfile.write(tmp_path / "é a.wav", np.stack([tone(1, rate=44100)] * 2, 1), 44100)
    soundfile.write(tmp_path / "b.flac", tone(0.5, 310, 16000), 16000)
    (tmp_path / "c.raw").write_bytes(tone(0.25, 90).tobytes())
    inputs = [tmp_path / "é a.wav", tmp_path / "b.flac", tmp_path / "c.raw"]
    sound, rows = corpus_of(tmp_path / "out", inputs)
    assert len(sound) == 14000
    assert sorted(row["path"] for row in rows) == sorted(map(str, inputs))
    assert np.array_equal(sound, corpus_of(tmp_path / "out", inputs[::-1])[0])


@pytest.mark.parametrize("data", [b"", b"no audio", wav(np.zeros(8000, np.int16)), wav(tone(0.001)), None])
def test_a_bad_file_of_the_users_own_is_an_error_that_names_it(tmp_path, data):
    soundfile.write(tmp_path / "good.wav", tone(1), 8000)
    if data is not None:
        (tmp_path / "bad.wav").write_bytes(data)
    with pytest.raises(InputError, match=r"bad\.wav: "):
        corpus_of(tmp_path, [tmp_path / "good.wav", tmp_path / "bad.wav"])
    assert not (tmp_path / "c.raw").exists()


def test_nothing_usable_is_one_error(tmp_path, voices):
    with pytest.raises(InputError, match=r"a\.tar: no usable speech: 19 audio files, 1 of them chosen") as error:
        corpus_of(tmp_path, [voices], include=["silence/*"])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "c.raw").exists()


def test_an_equaliser_keeps_the_level_and_changes_the_colour():
    noise = np.random.default_rng(3).normal(0, 1000, 16000).astype(np.int16)
    assert corpus.colour(noise, 0.0, "1") is noise
    coloured = corpus.colour(noise, 4.0, "1")
    assert coloured.std() == pytest.approx(noise.std(), rel=0.01)
    assert (coloured == corpus.colour(noise, 4.0, "1")).all()
    assert (coloured != corpus.colour(noise, 4.0, "2")).any()
    power = [np.abs(np.fft.rfft(x.astype(float))) ** 2 for x in (noise, coloured)]
    bands = [10 * np.log10(p[: len(p) // 16 * 16].reshape(16, -1).sum(axis=1)) for p in power]
    assert 2 < np.std(bands[1] - bands[0]) < 12


def test_a_corpus_is_equalised_file_by_file(tmp_path):
    rng = np.random.default_rng(5)
    for name in "ab":
        records.write_speech(tmp_path / f"{name}.raw", rng.normal(0, 1000, 8000).astype(np.int16))
    own = [tmp_path / "a.raw", tmp_path / "b.raw"]
    corpus.prepare_corpus_part(own, {}, tmp_path / "plain.raw", tmp_path / "m.csv")
    corpus.prepare_corpus_part(own, {"equalise": 4.0}, tmp_path / "coloured.raw", tmp_path / "m.csv")
    plain, coloured = records.read_speech(tmp_path / "plain.raw"), records.read_speech(tmp_path / "coloured.raw")
    assert len(plain) == len(coloured) == 16000
    gains = [
        np.abs(np.fft.rfft(coloured[part].astype(float))).reshape(-1)[1:] / np.abs(np.fft.rfft(plain[part]))[1:]
        for part in (slice(0, 8000), slice(8000, None))
    ]
    assert np.median(np.abs(20 * np.log10(gains[0] / gains[1]))) > 1


# --- speakers --------------------------------------------------------------------------------------------

READERS = {"84": 110, "174": 150, "251": 190, "422": 230, "1272": 270}


def flac(samples, rate=16000):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, "PCM_16", format="FLAC")
    return file.getvalue()


@pytest.fixture(scope="module")
def readers():
    """A small archive of the shape of LibriSpeech's dev-clean, as .tar.gz: each reader has a pitch."""
    content = {"LibriSpeech/LICENSE.TXT": b"CC BY 4.0", "LibriSpeech/SPEAKERS.TXT": b"84 | F | dev-clean"}
    for i, (reader, hertz) in enumerate(READERS.items()):
        for utterance in range(3):
            path = f"LibriSpeech/dev-clean/{reader}/12{i}/{reader}-12{i}-{utterance:04}"
            content[path + ".flac"] = flac(tone(0.5 + 0.1 * utterance, hertz, 16000))
            content[f"LibriSpeech/dev-clean/{reader}/12{i}/{reader}-12{i}.trans.txt"] = b"WORDS"
    return tar_bytes(content, "w:gz")


READERS_PART = {"speakers": r"dev-clean/(\d+)/", "held_out_speakers": 2, "seed": 1}


def reader_of(row):
    return row["path"].split("/")[2]


def test_a_corpus_of_many_readers_is_fetched_and_no_held_out_reader_is_among_the_others(
    tmp_path, serve, certificate, monkeypatch, readers, capsys
):
    path, tls = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    url = serve(lambda handler: reply(handler, readers), tls) + "/resources/12/dev-clean.tar.gz"
    with pytest.raises(InputError, match=r"dev-clean\.tar\.gz: checksum "):
        fetched(tmp_path, {"urls": [at(url)]})
    content, _ = fetched(tmp_path, {"urls": [at(url, readers)]})
    assert len(content) == 15
    archive = tmp_path / "out/a.tar"
    (_, rows), (held_out, held_out_rows) = (
        corpus_of(tmp_path, [archive], **READERS_PART, held_out=held_out) for held_out in (False, True)
    )
    assert len(rows) == 9 and len(held_out_rows) == 6
    trained, unseen = ({reader_of(row) for row in some} for some in (rows, held_out_rows))
    assert trained | unseen == READERS.keys() and not trained & unseen
    assert f"of 5 speakers held out: {', '.join(sorted(unseen))}" in capsys.readouterr().err
    for row in held_out_rows:  # the speech is that of the reader, at 8 kHz
        piece = held_out[80 * int(row["start_frame"]) :][: 80 * int(row["frames"])]
        assert np.argmax(np.abs(np.fft.rfft(piece, 8000))) == pytest.approx(READERS[reader_of(row)], abs=2)


def test_which_speakers_are_held_out_follows_from_the_seed_and_their_names_alone(tmp_path, readers):
    (tmp_path / "in.tar.gz").write_bytes(readers)
    fetched(tmp_path, {"urls": [{"url": (tmp_path / "in.tar.gz").as_uri()}]})

    def held_out(**changes):
        return {reader_of(row) for row in corpus_of(tmp_path, [tmp_path / "out/a.tar"], **READERS_PART | changes)[1]}

    first = held_out(held_out=True)
    assert first == held_out(held_out=True, include=["*-0001.flac"]) == held_out(held_out=True, resample=[0.9, 1.1])
    assert first | held_out() == READERS.keys()
    assert held_out(held_out=True, held_out_speakers=1) < first < held_out(held_out=True, held_out_speakers=4)
    assert any(held_out(held_out=True, seed=seed) != first for seed in (2, 3, 4))


def test_own_files_are_split_by_the_folders_of_their_speakers(tmp_path):
    for i, name in enumerate(("ann", "bob", "cid")):
        for take in (0, 1):
            path = tmp_path / name / f"{take}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, tone(0.3, 100 + 40 * i + take), 8000)
    own = sorted(tmp_path.glob("*/*.wav"))
    split = {"speakers": r"/(\w+)/\d\.wav$", "held_out_speakers": 1}
    sides = [corpus_of(tmp_path, own, **split, held_out=side)[1] for side in (True, False)]
    assert [len({Path(row["path"]).parent for row in rows}) for rows in sides] == [1, 2]
    assert sorted(row["path"] for rows in sides for row in rows) == list(map(str, own))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"held_out_speakers": 5}, "held_out_speakers: found 5, expected less than 5"),
        ({"speakers": r"dev-clean/(\d\d)/"}, r"speakers: .* finds no name in LibriSpeech/dev-clean/\d+/.*flac"),
        ({"speakers": "dev-clean(X?)"}, "finds no name in"),
    ],
)
def test_speakers_that_cannot_be_told_apart_or_held_out_are_an_error(tmp_path, readers, changes, reason):
    (tmp_path / "in.tar.gz").write_bytes(readers)
    fetched(tmp_path, {"urls": [{"url": (tmp_path / "in.tar.gz").as_uri()}]})
    with pytest.raises(InputError, match=reason):
        corpus_of(tmp_path, [tmp_path / "out/a.tar"], **READERS_PART | changes)
    assert not (tmp_path / "c.raw").exists()


def test_an_archive_of_one_voice_gives_its_recordings_and_nothing_else(tmp_path, serve):
    root = "cmu_us_bdl_arctic"
    content = {f"{root}/wav/arctic_a000{i}.wav": wav(tone(0.4, 100 + i, 16000), 16000) for i in range(1, 5)}
    content |= {f"{root}/COPYING": b"free", f"{root}/etc/txt.done.data": b"( arctic_a0001 )"}
    content[f"{root}/orig/arctic_a0001.wav"] = wav(tone(0.4, 300, 32000), 32000)  # as recorded, with another channel
    data = tar_bytes(content, "w:bz2")
    url = serve(lambda handler: reply(handler, data)) + f"/cmu_arctic/packed/{root}.tar.bz2"
    fetched(tmp_path, {"urls": [at(url, data)]})
    sound, rows = corpus_of(tmp_path, [tmp_path / "out/a.tar"], include=["wav/*.wav"])
    assert sorted(Path(row["path"]).name for row in rows) == [f"arctic_a000{i}.wav" for i in range(1, 5)]
    assert len(sound) == 4 * 3200


# --- what is done to speech ------------------------------------------------------------------------------


def test_noise_has_its_ratio_and_the_speechs_own_spectrum_and_follows_from_the_seed():
    rng = np.random.default_rng(2)
    voice = np.convolve(rng.normal(0, 1, 64000), [1, 1.8, 1.2, 0.3], "same") * np.repeat(rng.uniform(0, 900, 80), 800)
    voice = voice.astype(np.int16)
    assert corpus.add_noise(voice, None, "1") is voice
    noisy = corpus.add_noise(voice, [12, 12], "1")
    noise = noisy.astype(float) - voice
    assert 10 * np.log10(np.mean(voice.astype(float) ** 2) / np.mean(noise**2)) == pytest.approx(12, abs=0.1)
    bands = [10 * np.log10((np.abs(np.fft.rfft(x)[1:]) ** 2).reshape(20, -1).sum(axis=1)) for x in (voice, noise)]
    np.testing.assert_allclose(bands[0] - bands[1], 12, atol=0.5)
    level = [np.sqrt((x.astype(float) ** 2).reshape(80, -1).mean(axis=1)) for x in (voice, noise)]
    assert np.std(level[1]) / np.mean(level[1]) < 0.2 < np.std(level[0]) / np.mean(level[0])  # it is steady
    assert (noisy == corpus.add_noise(voice, [12, 12], "1")).all() and (
        noisy != corpus.add_noise(voice, [12, 12], "2")
    ).any()
    ratios = [np.std(corpus.add_noise(voice, [0, 30], str(i)) - voice.astype(float)) for i in range(50)]
    assert 20 * np.log10(voice.std() / max(ratios)) < 5 and 25 < 20 * np.log10(voice.std() / min(ratios)) < 30.1
    assert not corpus.add_noise(np.zeros(800, np.int16), [0, 0], "1").any()


def test_a_gain_is_of_its_range_and_clips_nothing():
    voice = tone(0.2)
    assert corpus.amplify(voice, None, "1") is voice
    gains = np.array([corpus.amplify(voice, [-20, -6], str(i)).std() / voice.std() for i in range(50)])
    assert -20 <= 20 * np.log10(gains.min()) < -18 and -8 < 20 * np.log10(gains.max()) <= -6
    loud = corpus.amplify(voice, [40, 60], "1")
    assert np.abs(loud.astype(int)).max() == 32767
    assert np.corrcoef(loud, voice)[0, 1] > 0.99999
    assert not corpus.amplify(np.zeros(80, np.int16), [0, 20], "1").any()


def test_a_corpus_is_in_noise_and_amplified_file_by_file_and_by_default_not_at_all(tmp_path, voices):
    plain, rows = corpus_of(tmp_path, [voices], seed=1)
    assert np.array_equal(plain, corpus_of(tmp_path, [voices], seed=1, noise=None, gain=None)[0])
    pieces = [slice(80 * int(row["start_frame"]), 80 * (int(row["start_frame"]) + int(row["frames"]))) for row in rows]

    def gains(**changes):
        changed, same = corpus_of(tmp_path, [voices], seed=1, **changes)
        assert same == rows
        return np.array([changed[piece].std() / plain[piece].std() for piece in pieces])

    louder = 20 * np.log10(gains(gain=[-20, -6]))
    assert louder.min() >= -20.01 and louder.max() <= -5.99 and np.ptp(louder) > 3
    noisier = gains(noise=[-10, 10])  # the power is that of speech and noise
    assert noisier.min() > 1.03 and noisier.max() < 3.5 and np.ptp(noisier) > 0.5
    both = gains(noise=[-10, 10], gain=[-20, -6])
    np.testing.assert_allclose(20 * np.log10(both), 20 * np.log10(noisier) + louder, atol=0.2)
