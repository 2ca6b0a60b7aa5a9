"""The commands about speech: sources are obtained, samples and training corpora are prepared from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mlquant.core.errors import log
from mlquant.core.stage import Aside, File, Json, Root, Setting, stage

AUDIO = "any audio file that libsndfile reads, or headerless 16-bit 8 kHz .raw"
Archive = Annotated[Path, File(help=f"a tar written by fetch, or {AUDIO}")]
Raw = Annotated[Path, File(help="16-bit 8 kHz .raw", flag="--out")]


@stage(
    "sources",
    archive="speech.tar",
    manifest="manifest.json",
    example="""'{"package": "codec2-examples"}' -o speech.tar --manifest manifest.json""",
)
def fetch(
    source: Annotated[Json, Setting(help="JSON text or file", block="mlquant.speech.settings:Source")],
    *,
    archive: Annotated[Path, File(help="tar of the audio files", flag="--out")],
    manifest: Annotated[Path, File(help="JSON: origin and sha256 of each file")],
    apt: Annotated[Path | None, Aside(help="keep package lists here, for the next call", metavar="DIR")] = None,
    optional: Annotated[bool, Aside(help="write an empty archive when it cannot be obtained")] = False,
) -> None:
    """Obtain a source of speech, from Debian or from a url."""
    from mlquant.core import blocks
    from mlquant.speech.fetch import fetch_source
    from mlquant.speech.settings import Source

    checked = blocks.validate(Source, source, "source").model_dump()
    fetch_source(checked, archive, manifest, optional, apt)


@stage("samples", raw="speech.raw", example="speech.tar --member raw/big_dog.raw -o big_dog.raw")
def prepare_sample(
    speech: Archive,
    *,
    member: Annotated[
        str | None, Setting(help="the end of the path of the file in the archive", metavar="GLOB")
    ] = None,
    sha256: Annotated[str | None, Setting(help="checksum that the file must have")] = None,
    raw: Raw,
) -> None:
    """Write one sample as 16-bit 8 kHz speech."""
    from mlquant.speech import corpus

    corpus.prepare_sample(speech, raw, member, sha256)


@stage(
    "sets",
    raw="speech.raw",
    utterances="utterances.csv",
    found=("speech", "own"),
    example="""--settings '{"parts": {"a": {"archive": "a.tar", "seconds": [5, 8]}}}' -o a.raw --utterances a.csv""",
)
def prepare_set(
    *,
    settings: Annotated[Json, Setting(help="JSON text or file", block="mlquant.speech.settings:shard")],
    raw: Raw,
    utterances: Annotated[Path, File(help="CSV of the utterances and their places in the speech")],
    root: Root = None,
) -> None:
    """Choose utterances for a test set, and write their speech."""
    from mlquant.core import blocks
    from mlquant.speech import sets
    from mlquant.speech.settings import SetShard

    sets.prepare(blocks.validate(SetShard, settings, "settings"), raw, utterances, root)


@stage(
    "corpora",
    raw="speech.raw",
    manifest="manifest.csv",
    found=("own",),
    example="""speech.tar --settings '{"minutes": 5, "seed": 1}' -o corpus.raw --manifest c.csv""",
)
def prepare_corpus(
    speech: Annotated[list[Path], File(help=f"a tar written by fetch, or audio: {AUDIO}")] = [],  # noqa: B006
    *,
    settings: Annotated[
        Json, Setting(help="JSON text or file", metavar="JSON", block="mlquant.speech.settings:SeededChoice")
    ],
    raw: Raw,
    manifest: Annotated[Path, File(help="CSV of the files used")],
    test_samples: Annotated[
        list[str],
        Aside(
            help="test samples, by SHA-256 or path, which are left out, under whatever name",
            flag="--test-samples",
            metavar="SHA256",
        ),
    ] = [],  # noqa: B006
) -> None:
    """Choose training speech, and write it as 16-bit 8 kHz."""
    from mlquant.core import blocks
    from mlquant.core.containers import some_of
    from mlquant.speech import corpus
    from mlquant.speech.settings import SeededChoice, audio_files, left_out

    checked = blocks.validate(SeededChoice, settings, "settings").model_dump()
    # A user's own files can be too many for a command line: the settings name their folder.
    own = audio_files(checked["files"])[checked["shard"] :: checked["shards"]] if checked["files"] else ()
    if own and not checked["shard"] and (others := left_out(checked["files"])):
        log(f"{checked['files']}: files that are no audio that is read are left out: {some_of(others)}")
    corpus.prepare_corpus_part([Path(name) for name in own] or speech, checked, raw, manifest, test_samples)
