"""The schema of config.yaml. `load` checks all of it, so that a mistake is one line that names the key.

Used by the Snakefile only: no stage reads the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from mlquant.core.blocks import Block, Factor, Positive, Seed, nearest, refusal, shown, validate
from mlquant.core.errors import InputError
from mlquant.networks.rows import ROWS, SHAPING, Row
from mlquant.networks.settings import NetworkSettings
from mlquant.speech.settings import OWN, Choice, Sha256, Source, audio_files, url_problem
from mlquant.vocoder.codec2 import MODES

_CONTROL = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"  # among them what stands for bytes that are no UTF-8


def _text(value: str) -> str:
    """Text that has no control characters."""
    if re.search(_CONTROL, value):
        raise refusal(f"found {shown(value)}, expected no control characters")
    return value


def _line(value: str) -> str:
    """The same as one line, as titles stand in tables."""
    return _text(" ".join(value.split()))


def _path(value: str) -> str:
    """A path that can be an input of a rule and an argument of a command."""
    if value.startswith("-"):
        raise refusal(f"found {shown(value)}, expected no dash in front, which commands take for an option")
    if problem := unfit(value):
        raise refusal(f"found {shown(value)}, {problem}")
    return value


def unfit(path: str) -> str | None:
    """Why a path cannot be that of an input; None for one that can, also with spaces, quotes and dollars."""
    if re.search(_CONTROL, path):
        return "expected no control characters, and UTF-8"
    if re.search("[{}]", path):
        return "expected no braces, which Snakemake takes for a wildcard"
    if not path.strip() or max(len(part.encode()) for part in path.split("/")) > 255:
        return "expected a path, each part of it up to 255 bytes"
    return None


# Up to three names stand in the name of a file, which 255 bytes must be enough for.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=64)]
Text = Annotated[str, AfterValidator(_text)]
Line = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_line)]
FilePath = Annotated[str, AfterValidator(_path)]


class Sample(Block):
    sex: Literal["m", "f"] | None = None
    source: str | None = None
    file: Text | None = None
    url: str | None = None
    sha256: Sha256 | None = None
    optional: bool = False

    @model_validator(mode="after")
    def _one_origin(self) -> Sample:
        if (self.source is None) != (self.file is None):
            raise refusal("has only one of source and file, expected both or neither")
        if self.source and self.url:
            raise refusal("has both source and url, expected at most one")
        if self.source and self.optional:
            raise refusal("is optional, which needs a url of its own instead of a source")
        if self.url is not None and (problem := url_problem(self.url, self.sha256)):
            raise refusal(problem)
        return self


class Part(Choice):
    source: str | None = None
    files: FilePath | None = None
    b: FilePath | None = None
    y: FilePath | None = None
    shards: Positive = 1
    held_out: bool = False

    @model_validator(mode="after")
    def _one_origin(self) -> Part:
        if self.speakers and (self.b or self.shards > 1):
            raise refusal(f"speakers: found with {'b' if self.b else 'shards'}, expected speech that one job prepares")
        if self.speakers and self.held_out:
            raise refusal("has held_out and held_out_speakers, expected at most one of them")
        if self.shards > 1 and not self.files:
            raise refusal("shards goes with files of your own, and only with them")
        if sum(origin is not None for origin in (self.source, self.files, self.b)) != 1:
            raise refusal("expected exactly one of source, files and b")
        if self.y and not self.b:
            raise refusal("has y without b, expected both")
        return self


class Corpus(Block):
    seed: Seed = 1
    parts: Annotated[dict[Name, Part], Field(min_length=1)]

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Corpus:
        if all(part.held_out for part in self.parts.values()):
            raise refusal("parts: all are held out, expected one to train on")
        return self


class Features(Block):
    floor_dB: Annotated[float, Field(ge=-200, le=40)] = -80.0


class Network(NetworkSettings):
    corpus: str
    finetune: str | None = None
    vq_in_loop: str | None = None
    quantiser: str | None = None
    stages: Positive | None = None

    @model_validator(mode="after")
    def _trained_on(self) -> Network:
        if self.finetune and self.vq_in_loop:
            raise refusal("has finetune and vq_in_loop, expected at most one of them")
        if (self.start is None) != (self.quantiser is None):
            raise refusal("quantiser goes with finetune or vq_in_loop, and only with them")
        for name, goes_with in (("stages", "quantiser"), ("mbest", "quantiser"), ("refresh", "vq_in_loop")):
            if getattr(self, name) != type(self).model_fields[name].default and not getattr(self, goes_with):
                raise refusal(f"{name} goes with {goes_with}, and only with it")
        if self.noise_var and self.start:
            raise refusal(f"noise_var: found {self.noise_var:g}, expected 0 where latents are quantised instead")
        return self

    @property
    def row(self) -> Row:
        """The network's row of the table: its layers, and what goes in and comes out."""
        return ROWS[self.family, self.nn]

    @property
    def design(self):
        return ROWS[self.family, self.nn]

    @property
    def initial(self):
        return self.finetune or self.vq_in_loop

    @property
    def start(self) -> str | None:
        """The network that this one is trained on from."""
        return self.finetune or self.vq_in_loop


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise refusal(f"found {value}, expected a power of two")
    return value


Entries = Annotated[int, Field(ge=2, le=1 << 20), AfterValidator(_power_of_two)]


class CodebookStage(Block):
    size: Entries = 4096
    stop: Annotated[float, Field(gt=0)] = 1e-4
    seed: Seed = 1


def _coefficient(value: Any) -> Any:
    """A prediction coefficient; the largest is that of `vq.predictor`."""
    if value == "fit" or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 0.95):
        return value
    raise refusal(f"found {shown(value)}, expected fit, or a number, 0 to 0.95")


Predict = Annotated[Any, AfterValidator(_coefficient)]


class Quantiser(Block):
    network: str | None = None
    corpus: str | None = None
    kind: Literal["lbg", "beam", "predictive"] = "lbg"
    mbest: Positive | None = None
    predict: Predict | None = None
    reset_every: Positive | None = None
    interval_ms: Literal[10, 20, 40] | None = None
    thresh: float | None = None
    stages: Annotated[list[CodebookStage], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Quantiser:
        if (self.network is None) == (self.corpus is None):
            raise refusal("expected exactly one of network, for its latents, and corpus, for b itself")
        if (self.kind == "lbg") == (self.mbest is not None):
            raise refusal("mbest goes with kinds beam and predictive, and only with them")
        if (self.kind == "predictive") != (self.predict is not None):
            raise refusal("predict goes with kind predictive, and only with it")
        if self.reset_every and self.kind != "predictive":
            raise refusal("stretch goes with kind predictive, and only with it")
        return self


def _mode(value: str) -> str:
    if value not in MODES:
        raise refusal(f"found {value}, expected one of {', '.join(MODES)}")
    return value


class Output(Block):
    index: Annotated[int, Field(ge=0, le=9999)]
    tag: Tag
    processing: Line = ""
    shows: Line = ""
    process: Literal["original", "vocoder", "codec2"]
    networks: list[str] = []
    quantiser: str | None = None
    stages: Positive | None = None
    mbest: Positive = 5
    noise_var: Annotated[float, Field(ge=0)] = 0.0
    seed: Seed = 1
    postfilter: Factor = 1.0
    mode: Annotated[str, AfterValidator(_mode)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Output:
        for name in ("stages", "mbest"):
            if name in self.model_fields_set and self.quantiser is None:
                raise refusal(f"has {name} without a quantiser, expected both")
        if len(set(self.networks)) < len(self.networks):
            raise refusal(f"networks: found {', '.join(self.networks)}, expected each once")
        if (self.process == "codec2") != (self.mode is not None):
            raise refusal("mode goes with process codec2, and only with it")
        if self.process != "vocoder" and (self.networks or self.quantiser or self.noise_var or self.postfilter != 1):
            raise refusal("networks, quantiser, noise_var and expand go with process vocoder only")
        if self.noise_var and self.quantiser:
            raise refusal("has noise_var and quantiser, expected at most one of them")
        return self


class Experiment(Block):
    title: Line = ""
    in_all: bool = True
    published: FilePath | None = None
    samples: Annotated[list[Name], Field(min_length=1)]
    outputs: Annotated[list[Output], Field(min_length=1)]


class Sweep(Block):
    title: Line = ""
    base: dict[str, Any] = {}
    rows: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]
    repeats: Positive = 1


class NoiseStudy(Block):
    kind: Literal["noise"]
    quantiser: str
    noise_vars: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)]
    frame_ms: Positive = 20
    seed: Seed = 1


class UniformStudy(Block):
    kind: Literal["uniform_vq"]
    quantiser: str
    mbest: Positive = 5


class MbestStudy(Block):
    kind: Literal["vq"]
    quantiser: str
    stages: Annotated[list[Positive], Field(min_length=1)]
    mbest: Annotated[list[Positive], Field(min_length=1)]


class LatentStudy(Block):
    kind: Literal["latents"]
    network: str
    lags: Positive = 25
    seconds: Annotated[float, Field(gt=0)] = 4.0


class AnalogStudy(Block):
    kind: Literal["analog"]
    base: dict[str, Any]
    d: Annotated[list[Positive], Field(min_length=1)]
    snr_dB: Annotated[list[float], Field(min_length=1)]
    quantiser: str
    stages: Positive = 2
    mbest: Positive = 5
    sample: Name
    manifold: str
    wav_snr_dB: list[float]
    bandwidth: Positive = 3000
    seed: Seed = 1


class DemoStudy(Block):
    kind: Literal["demo"]
    title: Line = ""
    network: str
    sample: Name
    frames: Positive = 4


class Kind(Block):
    """Settings of a kind of quantiser, beside those of the study that compares it with others."""

    mbest: Positive | None = None
    predict: Predict | None = None
    reset_every: Positive | None = None


class Chain(Block):
    """A quantised chain of networks, measured with each of so many stages."""

    networks: Annotated[list[str], Field(min_length=1)]
    quantiser: str
    stages: Annotated[list[Positive], Field(min_length=1)]
    mbest: Positive = 5
    postfilter: Factor = 1.0


class BitsStudy(Block):
    kind: Literal["bits"]
    samples: Annotated[list[Name], Field(min_length=1)]
    corpus: str
    network: str
    manifold: str
    kinds: Annotated[dict[Literal["lbg", "beam", "predictive"], Kind], Field(min_length=1)]
    sizes: Annotated[list[Entries], Field(min_length=1)]
    bits: Positive = 36
    interval_ms: Annotated[list[Literal[10, 20, 40]], Field(min_length=1)]
    thresh: float = 30.0
    stop: Annotated[float, Field(gt=0)] = 1e-3
    mbest: Positive = 5
    seconds: Annotated[float, Field(gt=0)] = 10.0
    chains: dict[Name, Chain] = {}

    @model_validator(mode="after")
    def _something_to_compare(self) -> BitsStudy:
        for name in ("samples", "sizes", "interval_ms"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise refusal(f"{name}: found {', '.join(map(str, values))}, expected each once")
        for name, chain in self.chains.items():
            if len(set(chain.stages)) < len(chain.stages):
                raise refusal(f"chains.{name}.stages: found {chain.stages}, expected each once")
        if self.bits < (least := max(self.sizes).bit_length() - 1):
            raise refusal(f"bits: found {self.bits}, expected at least {least}, those of a stage of {max(self.sizes)}")
        return self


Study = NoiseStudy | UniformStudy | MbestStudy | LatentStudy | AnalogStudy | DemoStudy | BitsStudy


class Config(Block):
    max_epochs: Positive | None = None
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    max_entries: Entries | None = None
    speech_dir: FilePath = "speech"
    features: Features = Features()
    sources: dict[Name, Source] = {}
    samples: dict[Name, Sample] = {}
    corpora: dict[Name, Corpus] = {}
    networks: dict[Name, Network] = {}
    quantisers: dict[Name, Quantiser] = {}
    experiments: Annotated[dict[Name, Experiment], Field(min_length=1)]
    sweeps: dict[Name, Sweep] = {}
    studies: dict[Name, Annotated[Study, Field(discriminator="kind")]] = {}

    def every(self, quantiser: Quantiser) -> int:
        """Of how many vectors a quantiser sends one."""
        return (quantiser.interval_ms or self.vector_ms(quantiser)) // self.vector_ms(quantiser)

    def send_every(self, quantiser):
        return self.every(quantiser)

    def frame_by_frame(self, quantiser):
        return self.plain(quantiser)

    def vector_ms(self, quantiser: Quantiser) -> int:
        """The time of a vector that a quantiser takes."""
        return 10 * self.networks[quantiser.network].ncat if quantiser.network else 10

    def plain(self, quantiser: Quantiser) -> bool:
        """Whether a quantiser takes each vector of latents by itself."""
        return bool(quantiser.network) and quantiser.kind != "predictive" and self.every(quantiser) == 1


def load(raw: dict) -> Config:
    """Check a configuration as read from YAML; raises InputError, one line that names the key.

    The networks of sweeps and studies join `networks`, each under its place in the configuration; max_epochs,
    max_minutes and max_entries are put into force everywhere.
    """
    try:
        text = _with_text_keys(raw, {})
    except RecursionError:
        raise InputError("config: is nested too deeply, or in itself, expected a few levels") from None
    config = validate(Config, _trained_on(text), "config")
    derived = {"networks": config.networks | _derived_networks(config)}
    derived["quantisers"] = config.quantisers | _derived_quantisers(config)
    config = config.model_copy(update=derived)
    _check_references(config)
    _check_studies(config)
    _check_own_files(config)
    config = _limited(config)
    ex = {n: e.model_copy(update={'outputs': {o.index: o for o in e.outputs}}) for n, e in config.experiments.items()}
    return config.model_copy(update={'experiments': ex})


_OWN = (
    "finetune",
    "vq_in_loop",
    "quantiser",
    "stages",
    "mbest",
    "refresh",
    "noise_var",
)  # settings that a start does not pass on


def _start(entry: dict, place: str) -> tuple[str, str | None]:
    """The place of what a network names to be trained on from, and that name; None of one that begins anew."""
    key = "finetune" if entry.get("finetune") else "vq_in_loop"
    value = entry.get(key)
    if isinstance(value, list | dict):
        raise InputError(f"config: {place}.{key}: found {shown(value)}, expected the name of a network")
    return f"{place}.{key}", str(value) if value else None  # YAML may have read it as a number


def _trained_on(raw: Any) -> Any:
    """A configuration as read, its networks with `finetune` or `vq_in_loop` with the settings of their start.

    What else is wrong with them is found later.
    """
    networks = raw.get("networks") if isinstance(raw, dict) else None
    if not isinstance(networks, dict):
        return raw

    def with_start(name: str, above: tuple[str, ...]) -> Any:
        entry = networks[name]
        if not isinstance(entry, dict):
            return entry
        key, start = _start(entry, f"networks.{name}")
        if start is None:
            return entry
        _check(key, start, networks, "network")
        if start in (*above, name):
            raise InputError(f"config: {key}: found {start!r}, which is trained on from {name!r} itself")
        base = with_start(start, (*above, name))
        if not isinstance(base, dict):
            return entry
        return {key: value for key, value in base.items() if key not in _OWN} | entry

    return raw | {"networks": {name: with_start(name, ()) for name in networks}}


def _derived_networks(config: Config) -> dict[str, Network]:
    """The networks of every row of every sweep, and those of studies of a channel, by their places."""
    found = {}

    def add(place: str, *settings: dict) -> None:
        merged = {key: value for block in settings for key, value in block.items()}
        key, start = _start(merged, place)
        if start:
            _check(key, start, config.networks, "network")
            merged = config.networks[start].model_dump(exclude={*_OWN}) | merged
        found[place] = validate(Network, merged, f"config: {place}")

    for name, sweep in config.sweeps.items():
        for row, changes in sweep.rows.items():
            place = f"sweeps.{name}.rows.{row}"
            add(place, sweep.base, changes)
            for repeat in range(1, sweep.repeats):
                seed = found[place].seed + repeat
                add(f"{place}.seed{seed}", sweep.base, changes, {"seed": seed})
    for name, study in config.studies.items():
        if isinstance(study, AnalogStudy):
            for place, d, snr in channel_networks(name, study):
                # N0/2, the noise of a real dimension, at this ratio of a symbol's energy, 1, to N0.
                noise_var = 0.0 if snr is None else float(f"{0.5 * 10 ** (-snr / 10):.6g}")
                add(place, study.base, {"d": d, "noise_var": noise_var, "symbols": True})
    return found


def _derived_quantisers(config: Config) -> dict[str, Quantiser]:
    """The quantisers that studies compare, by their places."""
    found = {}
    for name, study in config.studies.items():
        if isinstance(study, BitsStudy):
            _check(f"studies.{name}.network", study.network, config.networks, "network")
            _check(f"studies.{name}.corpus", study.corpus, config.corpora, "corpus")
            found |= {place: quantiser for place, *_, quantiser in compared_quantisers(name, study)}
    return found


def compared_quantisers(name: str, study: BitsStudy) -> Iterator[tuple[str, str, int, int, Quantiser]]:
    """What a study compares: place, source (latents or b), entries of a stage, interval in ms, and the quantiser."""
    sources = {"latents": {"network": study.network}, "b": {"corpus": study.corpus}}
    for source, (kind, own), size, ms in product(sources, study.kinds.items(), study.sizes, study.interval_ms):
        stages = [{"size": size, "stop": study.stop}] * (study.bits // (size.bit_length() - 1))
        settings = sources[source] | {"kind": kind, "interval_ms": ms, "thresh": study.thresh, "stages": stages}
        place = f"studies.{name}.{source}.{kind}.{size}.{ms}ms"
        quantiser = validate(Quantiser, settings | own.model_dump(), f"config: {place}")
        yield place, source, size, ms, quantiser


def channel_networks(name: str, study: AnalogStudy) -> Iterator[tuple[str, int, float | None]]:
    """The networks that a study trains: name, latents d and dB of the channel, None for none."""
    for d, snr in product(study.d, (None, *study.snr_dB)):
        yield f"studies.{name}.base.d{d}" + ("" if snr is None else f"_{snr:g}dB".replace(".", "p")), d, snr


def _limited(config: Config) -> Config:
    """The same with no more epochs, minutes of a corpus' part and entries of a codebook than allowed."""

    def least(block: Block, key: str, limit: float | None) -> Block:
        found = getattr(block, key)
        return block.model_copy(update={key: limit}) if limit and (found is None or found > limit) else block

    networks = {name: least(network, "epochs", config.max_epochs) for name, network in config.networks.items()}
    corpora, quantisers = {}, {}
    for name, corpus in config.corpora.items():
        parts = {part: least(settings, "minutes", config.max_minutes) for part, settings in corpus.parts.items()}
        corpora[name] = corpus.model_copy(update={"parts": parts})
    for name, quantiser in config.quantisers.items():
        stages = [least(stage, "size", config.max_entries) for stage in quantiser.stages]
        quantisers[name] = quantiser.model_copy(update={"stages": stages})
    return config.model_copy(update={"networks": networks, "corpora": corpora, "quantisers": quantisers})


def _with_text_keys(value: Any, done: dict[int, Any]) -> Any:
    """Experiments are named by dates, which YAML reads as numbers: make every key text.

    What anchors share stays shared, in `done` by identity: written out, ten lines of them fill any memory.
    """
    if isinstance(value, dict | list) and id(value) not in done:
        done[id(value)] = _copied(value, done)
    return done.get(id(value), value)


def _copied(value: dict | list, done: dict[int, Any]) -> dict | list:
    if isinstance(value, dict):
        if odd := [key for key in value if isinstance(key, str) and re.search(_CONTROL, key)]:
            raise InputError(f"config: the key {shown(odd[0])} holds a control character, expected none")
        text = {str(key): _with_text_keys(item, done) for key, item in value.items()}
        if len(text) < len(value):
            twice = next(key for key in value if not isinstance(key, str) and str(key) in value)
            raise InputError(f"config: the key {twice} is there twice, with and without quotes, expected once")
        return text
    return [_with_text_keys(item, done) for item in value]


def _check(where: str, name: str | None, known: Collection[str], what: str) -> None:
    if name is not None and name not in known:
        raise InputError(f"config: {where}: {name!r} names no {what}, {nearest(name, known)}")


def _check_references(config: Config) -> None:
    """Every name in the configuration must be that of an entry."""
    samples = _samples(config)
    for name, sample in config.samples.items():
        _check(f"samples.{name}.source", sample.source, config.sources, "source")
    for name, corpus in config.corpora.items():
        for part, settings in corpus.parts.items():
            _check(f"corpora.{name}.parts.{part}.source", settings.source, config.sources, "source")
    for name, network in config.networks.items():
        _check(f"{name if '.' in name else f'networks.{name}'}.corpus", network.corpus, config.corpora, "corpus")
        for part, settings in config.corpora[network.corpus].parts.items():
            if network.row.target == "y" and settings.b and not settings.y:
                raise InputError(f"config: corpora.{network.corpus}.parts.{part}: has no y, which {name} is trained on")
    for name, quantiser in config.quantisers.items():
        where = name if "." in name else f"quantisers.{name}"
        _check(f"{where}.network", quantiser.network, config.networks, "network")
        _check(f"{where}.corpus", quantiser.corpus, config.corpora, "corpus")
        if quantiser.network and config.networks[quantiser.network].d is None:
            raise InputError(f"config: {where}.network: {quantiser.network!r} has no bottleneck to quantise")
        vector_ms = config.vector_ms(quantiser)
        if quantiser.interval_ms and quantiser.interval_ms % vector_ms:
            raise InputError(
                f"config: {where}.interval_ms: found {quantiser.interval_ms}, expected a multiple of "
                f"{vector_ms}, the time of a vector of {quantiser.network!r}"
            )
    for name, network in config.networks.items():
        if network.start:
            _check_start(config, name if "." in name else f"networks.{name}", network)
    for name, experiment in config.experiments.items():
        for i, sample in enumerate(experiment.samples):
            _check(f"experiments.{name}.samples.{i}", sample, samples, f"sample or file in {config.speech_dir}/")
            if experiment.samples.index(sample) != i:
                raise InputError(f"config: experiments.{name}.samples.{i}: {sample!r} is there twice, expected once")
        for i, output in enumerate(experiment.outputs):
            _check_chain(config, f"experiments.{name}.outputs.{i}", output)
        seen: dict[str, int] = {}
        for sample, (i, output) in product(experiment.samples, enumerate(experiment.outputs)):
            published = f"{sample}_{output.index}_{output.tag}.wav"
            if (first := seen.setdefault(published, i)) != i:
                raise InputError(
                    f"config: experiments.{name}.outputs.{i}: its file {published} is also that of "
                    f"outputs.{first}, expected another index or tag"
                )


def _check_start(config: Config, where: str, network: Network) -> None:
    """A network that is trained on must be of its start's shape, its quantiser one that comes before or inside it."""
    key = "finetune" if network.finetune else "vq_in_loop"
    _check(f"{where}.{key}", network.start, config.networks, "network")
    start = config.networks[network.start]
    _check(f"{where}.quantiser", network.quantiser, config.quantisers, "quantiser")
    quantiser = config.quantisers[network.quantiser]
    for setting in SHAPING:
        found, expected = getattr(network, setting), getattr(start, setting)
        if found != expected:
            raise InputError(f"config: {where}.{setting}: found {found}, expected {expected} as of {network.start!r}")
    if (network.stages or 1) > len(quantiser.stages):
        raise InputError(
            f"config: {where}.stages: found {network.stages}, but quantiser {network.quantiser!r} has "
            f"{len(quantiser.stages)} stages"
        )
    if network.row.encoder:
        if encoder_of(config, network.start) != quantiser.network:
            raise InputError(
                f"config: {where}.quantiser: {network.quantiser!r} is not of the latents of {network.start!r}"
            )
        if network.row.quantised or network.symbols:
            inside = "quantises" if network.row.quantised else "makes symbols"
            raise InputError(f"config: {where}.{key}: {network.start!r} {inside} itself, expected a plain bottleneck")
        if network.vq_in_loop and quantiser.kind == "predictive":
            raise InputError(f"config: {where}.quantiser: found kind predictive, expected lbg or beam in the loop")
    elif network.vq_in_loop:
        raise InputError(f"config: {where}.{key}: {network.start!r} has no bottleneck to quantise")
    elif network.row.target != "y":
        raise InputError(
            f"config: {where}.{key}: {network.start!r} has no bottleneck, and makes b_hat instead of y_hat"
        )
    elif quantiser.network and config.networks[quantiser.network].row.target != "b":
        raise InputError(f"config: {where}.quantiser: {network.quantiser!r} gives no b_hat, which {where} takes")


def encoder_of(config: Config, name: str) -> str:
    """The network whose encoder a network has: its own, or that of the one whose decoder it is a fine-tuned one of."""
    while start := config.networks[name].finetune:
        name = start
    return name


def _check_chain(config: Config, where: str, output: Output) -> None:
    """The networks of an output must follow each other from b to y_hat, its quantiser must belong to one."""
    for i, network in enumerate(output.networks):
        _check(f"{where}.networks.{i}", network, config.networks, "network")
        row = config.networks[network].row
        target = "y" if i == len(output.networks) - 1 else "b"
        if i and row.source == "y":
            raise InputError(f"config: {where}.networks.{i}: {network!r} takes y, expected one that takes b_hat")
        if row.target != target:
            expected = f"{target}_hat {'from' if target == 'y' else 'before'} the last network"
            raise InputError(f"config: {where}.networks.{i}: {network!r} makes {row.target}_hat, expected {expected}")
    if output.noise_var and sum(config.networks[network].d is not None for network in output.networks) != 1:
        raise InputError(f"config: {where}.noise_var: expected one network with a bottleneck to put noise on")
    if output.quantiser is None:
        return
    _check(f"{where}.quantiser", output.quantiser, config.quantisers, "quantiser")
    quantiser = config.quantisers[output.quantiser]
    if quantiser.network:
        encoders = [encoder_of(config, network) for network in output.networks]
        _check(f"{where}.quantiser (of network {quantiser.network})", quantiser.network, encoders, "network of it")
        if encoders.count(quantiser.network) > 1:
            raise InputError(f"config: {where}.networks: {output.quantiser!r} is of several of them, expected of one")
    elif not output.networks or config.networks[output.networks[0]].row.source == "y":
        raise InputError(f"config: {where}.quantiser: {output.quantiser!r} is of b, expected a network that takes b")
    if (output.stages or 1) > len(quantiser.stages):
        raise InputError(
            f"config: {where}.stages: found {output.stages}, but quantiser {output.quantiser!r} has "
            f"{len(quantiser.stages)} stages"
        )


def _check_studies(config: Config) -> None:
    """The names in studies must be those of entries that the study can be made of."""
    known = {
        "quantiser": config.quantisers,
        "network": config.networks,
        "manifold": config.networks,
        "sample": _samples(config),
        "corpus": config.corpora,
    }
    for name, study in config.studies.items():
        where = f"config: studies.{name}"
        for key, entries in known.items():
            _check(f"studies.{name}.{key}", getattr(study, key, None), entries, key)
        if isinstance(study, BitsStudy):
            _check_bits(config, name, study)
        quantiser = config.quantisers.get(getattr(study, "quantiser", None))
        if quantiser and not config.plain(quantiser):
            expected = "expected lbg or beam, of every vector of a network's latents"
            raise InputError(f"{where}.quantiser: {study.quantiser!r} is not one to study so, {expected}")
        if isinstance(study, LatentStudy) and config.networks[study.network].d is None:
            raise InputError(f"{where}.network: {study.network!r} has no bottleneck, so no latents")
        if isinstance(study, MbestStudy | AnalogStudy):
            available = len(config.quantisers[study.quantiser].stages)
            if (most := max(study.stages) if isinstance(study, MbestStudy) else study.stages) > available:
                raise InputError(f"{where}.stages: found {most}, but {study.quantiser!r} has {available} stages")
        targets = {"network": ("b", study.network)} if isinstance(study, DemoStudy) else {}
        if isinstance(study, AnalogStudy):
            targets["base"] = ("b", next(channel_networks(name, study))[0])
            targets["quantiser"] = ("b", config.quantisers[study.quantiser].network)
            targets["manifold"] = ("y", study.manifold)
        for key, (target, network) in targets.items():
            row = config.networks[network].row
            if (row.source, row.target) != ("b", target):
                made = f"from {row.source} to {row.target}_hat"
                raise InputError(f"{where}.{key}: {network!r} goes {made}, expected from b to {target}_hat")


def _check_bits(config: Config, name: str, study: BitsStudy) -> None:
    """All chains of a study of rates must go from b to y_hat, through networks of one corpus or another."""
    for i, sample in enumerate(study.samples):
        _check(f"studies.{name}.samples.{i}", sample, _samples(config), f"sample or file in {config.speech_dir}/")
    for part, settings in config.corpora[study.corpus].parts.items():
        if settings.b and not settings.y:
            raise InputError(f"config: studies.{name}.corpus: part {part} has no y, which it is measured by")
    grid = next(place for place, source, *_ in compared_quantisers(name, study) if source == "latents")
    chains = {"network": Chain(networks=[study.network, study.manifold], quantiser=grid, stages=[1])}
    chains |= {f"chains.{chain}": block for chain, block in study.chains.items()}
    for key, chain in chains.items():
        where = f"studies.{name}.{key}"
        settings = chain.model_dump() | {"index": 0, "tag": "rate", "process": "vocoder", "stages": max(chain.stages)}
        _check_chain(config, where, validate(Output, settings, f"config: {where}"))


def _check_own_files(config: Config) -> None:
    """Of the user's own speech files each must have a path that can be used, and a sample no more than one."""
    used = {sample for experiment in config.experiments.values() for sample in experiment.samples}
    used |= {study.sample for study in config.studies.values() if isinstance(study, AnalogStudy | DemoStudy)}
    used |= {name for study in config.studies.values() if isinstance(study, BitsStudy) for name in study.samples}
    seen: dict[str, Path] = {}
    for path in own_files(config):
        if (first := seen.setdefault(path.stem, path)) != path and path.stem in used:
            raise InputError(f"config: sample {path.stem!r}: found {first} and {path}, expected one file of that name")
    for name, corpus in config.corpora.items():
        for part, settings in corpus.parts.items():
            where = f"config: corpora.{name}.parts.{part}."
            try:
                found = audio_files(settings.files) if settings.files else []
            except InputError as error:
                raise InputError(f"{where}{error}") from None
            for path in found:
                if problem := unfit(path):
                    raise InputError(f"{where}files: found {shown(path)}, {problem}")


def own_files(config: Config) -> list[Path]:
    """The user's own speech files, sorted."""
    return sorted(path for path in Path(config.speech_dir).glob("*") if path.suffix.lower() in OWN)


def _samples(config: Config) -> list[str]:
    return [*config.samples, *(path.stem for path in own_files(config))]
