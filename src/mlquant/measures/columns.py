"""The measures, a row each: everything about a measure but how it is computed, which is in `measures`.

A new measure is one row here and its function there. The tables, the page, comparisons and the report read the rows,
so this module imports no numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from mlquant.core.types import SlowMeasure


@dataclass(frozen=True, kw_only=True)
class Column:
    """A measure of an output, a column of measures.csv.

    Readers see the `label`, with the `unit`, and the `help`. Values are written with so many `digits` after the point;
    CSV files hold a `whole` number without any. `better` says which values are better; it is None where none are.

    A measure `of_speech` is taken against each of REFERENCES, and for a published wav against the source and the speech
    of ideal y; each of these is a column of its own. `per_frame` names a column of frames.csv that the measure is
    computed from: as its mean over all frames, or over the `voiced` ones, or, with a limit `above` in dB, as the share
    of frames above it. With a limit, a `whole` number is the count of these frames.

    The page shows the `first` measures, with those of the published wav, until a reader asks for all of them, and
    draws the `charted` ones against bit/s. Comparisons print the `compared` ones. In both, measures of speech come
    first.

    A measure `of_vectors` is in the unit of what an output quantises: latents of one network, or b. Outputs that
    quantise different things are not comparable by it.
    """

    name: str
    label: str
    help: str = ""
    unit: str = ""
    digits: int = 2
    whole: bool = False
    better: Literal["higher", "lower", "near 0"] | None = None
    of_speech: bool = False
    of_vectors: bool = False
    per_frame: str | None = None
    voiced: bool = False
    above: float | None = None
    first: bool = False
    charted: bool = False
    compared: bool = False

    @property
    def heading(self) -> str:
        """The label with its unit in brackets, as a heading of a printed table."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def meaning(self) -> str:
        """The help, with the unit where it does not say it."""
        return f"{self.help}, in {self.unit}" if self.unit and self.unit not in self.help else self.help

    @property
    def format(self) -> str:
        """The format that a value is written in."""
        return f".{self.digits}f"


REFERENCES = {"": "source", "original_": "original", "ideal_y_": "ideal_y"}
"""The prefixes of columns, each with the speech that the measure compares with."""
OF_PUBLISHED = {f"published_{prefix}": REFERENCES[prefix] for prefix in ("", "ideal_y_")}
"""The prefixes of columns of a published wav, each with the speech that the measure compares with."""
_LABELS = {
    "original_": "original: ",
    "ideal_y_": "ideal y: ",
    "published_": "published ",
    "published_ideal_y_": "published, ideal y: ",
}
"""For each prefix, the text before the label of a measure."""
_SPEECH = {
    "source": "the source speech",
    "original": "the resynthesis with original amplitudes and phases",
    "ideal_y": "the synthesis of the true y with phase0",
}
"""The words for each speech that a measure compares with; the help of a measure has those for the source."""
NAMES = ["sample", "sex", "index", "tag"]
"""Columns before the measures. They say which output of which sample a row belongs to."""
TEXT = {"sample", "sex", "tag", "group"}
"""Columns that hold words, in tables of measures and of their means."""

SLOW_MEASURES: tuple[SlowMeasure, ...] = get_args(SlowMeasure)
SD, SD_B, LSD = "sd_dB2", "sd_b_dB2", "lsd_dB"
MEASURES = (
    Column(name="bits_per_frame", label="bits a vector", help="bits of one quantised vector", digits=0, whole=True),
    Column(
        name="frame_ms",
        label="ms a vector",
        help="duration of the frames of one quantised vector",
        digits=0,
        whole=True,
    ),
    Column(
        name="bit_per_s",
        label="bit/s",
        help="bit rate of latents or b, or of the Codec 2 mode",
        digits=0,
        first=True,
        compared=True,
    ),
    Column(name="bit_per_s_10ms", label="bit/s at 10 ms", help="bit rate if a vector is sent every 10 ms", digits=0),
    Column(name="bit_per_s_20ms", label="bit/s at 20 ms", help="bit rate if a vector is sent every 20 ms", digits=0),
    Column(name="frames", label="frames", help="frames of 10 ms", digits=0, whole=True),
    Column(
        name=SD,
        label="SD",
        unit="dB²",
        help="spectral distortion: mean squared difference of y_hat and y, 200 to 3700 Hz, all frames",
        better="lower",
        per_frame=SD,
        first=True,
        charted=True,
        compared=True,
    ),
    Column(
        name="sd_voiced_dB2",
        label="SD voiced",
        help="spectral distortion over voiced frames only, dB²",
        better="lower",
        per_frame=SD,
        voiced=True,
    ),
    Column(
        name="frames_above_2dB",
        label="> 2 dB",
        help="frames with a distortion above 2 dB (4 dB²)",
        digits=0,
        whole=True,
        better="lower",
        per_frame=SD,
        above=2,
    ),
    Column(
        name="share_above_2dB",
        label="share > 2 dB",
        help="share of frames with a distortion above 2 dB (4 dB²)",
        digits=3,
        better="lower",
        per_frame=SD,
        above=2,
        first=True,
    ),
    Column(
        name="frames_above_4dB",
        label="> 4 dB",
        help="frames with a distortion above 4 dB (16 dB²)",
        digits=0,
        whole=True,
        better="lower",
        per_frame=SD,
        above=4,
    ),
    Column(
        name="share_above_4dB",
        label="share > 4 dB",
        help="share of frames with a distortion above 4 dB (16 dB²)",
        digits=3,
        better="lower",
        per_frame=SD,
        above=4,
        first=True,
    ),
    Column(
        name=SD_B,
        label="SD of b",
        unit="dB²",
        help="mean squared difference of b_hat and b over its 20 values",
        better="lower",
        per_frame=SD_B,
        first=True,
    ),
    Column(
        name="latent_mse",
        label="latent MSE",
        help="mean squared error of an element of the quantised latents; where b itself is quantised, of b in dB²",
        digits=5,
        better="lower",
        of_vectors=True,
    ),
    Column(
        name="pesq",
        label="PESQ",
        help="narrow-band PESQ against the source speech, 1 to 4.5; of more than 19 s its mean over stretches of 8 to "
        "19 s, weighted by how much speech each holds",
        better="higher",
        of_speech=True,
        first=True,
        charted=True,
        compared=True,
    ),
    Column(
        name="stoi",
        label="STOI",
        help="short-time objective intelligibility against the source speech, 0 to 1",
        digits=3,
        better="higher",
        of_speech=True,
        first=True,
        charted=True,
        compared=True,
    ),
    Column(
        name="estoi",
        label="ESTOI",
        help="extended STOI against the source speech, 0 to 1",
        digits=3,
        better="higher",
        of_speech=True,
        first=True,
        charted=True,
        compared=True,
    ),
    Column(
        name=LSD,
        label="LSD",
        unit="dB",
        help="log spectral distance to the source speech over active frames",
        better="lower",
        of_speech=True,
        per_frame=LSD,
        first=True,
        charted=True,
        compared=True,
    ),
    Column(
        name="visqol",
        label="ViSQOL",
        help="ViSQOL against the source speech, in its mode for speech, 1 to 5; empty without package visqol-python",
        better="higher",
    ),
    Column(
        name="wer",
        label="WER",
        help="word error rate between what a recogniser of English, pocketsphinx, hears in the source and in the "
        "output; 0 is best, and it can pass 1; empty without package pocketsphinx",
        digits=3,
        better="lower",
    ),
    Column(
        name="wer_transcript",
        label="WER, transcript",
        help="word error rate between the transcript of a test set and what pocketsphinx hears in the output; empty "
        "without that package, and for samples",
        digits=3,
        better="lower",
    ),
    Column(
        name="speaker_similarity",
        label="speaker similarity",
        help="how like the voice of the output is to that of the source, at most 1: cosine of embeddings; empty "
        "without package resemblyzer",
        digits=3,
        better="higher",
    ),
    Column(
        name="crest_low_dB",
        label="crest low",
        help="buzziness: peak to RMS ratio of the envelope in a pitch cycle, low band, less that of the source, dB",
        better="near 0",
    ),
    Column(name="crest_mid_dB", label="crest mid", help="the same in the middle band, dB", better="near 0", first=True),
    Column(name="crest_high_dB", label="crest high", help="the same in the high band, dB", better="near 0"),
    Column(
        name="delay_samples", label="delay", help="known delay to the source, samples at 8 kHz", digits=0, whole=True
    ),
    Column(
        name="delay_measured",
        label="delay measured",
        help="delay to the source by cross-correlation, samples at 8 kHz",
        digits=1,
    ),
)
FRAMES = ["voiced", *dict.fromkeys(column.per_frame for column in MEASURES if column.per_frame)]
"""Columns of frames.csv: whether a frame is voiced, and its distortions."""
OF_SPEECH = [column for column in MEASURES if column.of_speech]
"""The measures of speech against other speech."""


def _all() -> Iterator[Column]:
    """Give the columns of measures.csv that are measures, in order."""
    for column in MEASURES:
        if not column.of_speech:
            yield column
        elif column is OF_SPEECH[0]:
            yield from (_with(prefix, one) for prefix in REFERENCES for one in OF_SPEECH)
    yield from (_with(prefix, one) for prefix in OF_PUBLISHED for one in OF_SPEECH)


def _with(prefix: str, column: Column) -> Column:
    """Return a measure against another reference, or of a published wav.

    Only the measure against the source has values frame by frame.
    """
    if not prefix:
        return column
    reference = _SPEECH[(REFERENCES | OF_PUBLISHED)[prefix]]
    text = column.help.replace(_SPEECH["source"], reference, 1)
    changes = {"name": prefix + column.name, "label": _LABELS[prefix] + column.label, "help": text}
    if prefix in OF_PUBLISHED:
        changes |= {"help": f"of the published wav: {text}", "better": None}
    own = {"of_speech": False, "per_frame": None, "first": False, "charted": False, "compared": False}
    return replace(column, **own, **changes)


OF_SET = ["utterance", "speaker", "sex", "frames", SD, "sd_voiced_dB2", SD_B, "latent_mse"]
OF_SET += ["share_above_2dB", "share_above_4dB", "pesq", "stoi", "estoi", LSD]
OF_SET += ["visqol", "wer", "wer_transcript", "speaker_similarity"]
"""Columns of the measures of a test set, a row for each utterance."""

COLUMNS = {column.name: column for column in _all()}
"""Every measure by its name, in the order of measures.csv."""

ABOUT = {
    "sample": "name of the test sample",
    "sex": "of the speaker: m, f, or empty where it is not known",
    "index": "number of the output within the experiment; empty for Codec 2 and other anchors",
    "tag": "short name of the output: its wav is `<sample>_<index>_<tag>.wav`",
    "group": "the samples or utterances that a mean is over: all, male or female",
    "samples": "number of samples in the group",
    "frame": "number of the frame, from 0; a frame is 10 ms",
    "voiced": "1 in a voiced frame, 0 in others",
} | {name: column.meaning for name, column in COLUMNS.items()}
"""What each column of the tables of an experiment holds, a line each."""


def dictionary(tables: Mapping[str, Iterable[str]], about: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the data dictionary of tables, given by name with their columns: a row for each column.

    `about` holds what each column means.
    """
    names = dict.fromkeys(column for columns in tables.values() for column in columns)
    return [
        {
            "column": name,
            "tables": " ".join(f"{table}.csv" for table, columns in tables.items() if name in columns),
            "better": (COLUMNS[name].better if name in COLUMNS else None) or "",
            "meaning": about[name],
        }
        for name in names
    ]
