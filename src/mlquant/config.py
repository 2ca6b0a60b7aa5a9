"""The schema of config.yaml. `load` checks all of it, so that a mistake is one line that names the key.

Used by the Snakefile only: no stage reads the configuration.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from mlquant.architectures import ROWS, NetworkSettings
from mlquant.files import InputError
from mlquant.schema import Block, Positive, Seed, nearest, refusal, validate
from mlquant.speech import OWN, Choice, Sha256, Source

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]


class Sample(Block):
    sex: Literal["m", "f"] | None = None
    source: str | None = None
    file: str | None = None
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
        return self


class Part(Choice):
    source: str | None = None
    files: str | None = None
    b: str | None = None
    y: str | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Part:
        if sum(origin is not None for origin in (self.source, self.files, self.b)) != 1:
            raise refusal("expected exactly one of source, files and b")
        if self.y and not self.b:
            raise refusal("has y without b, expected both")
        return self


class Corpus(Block):
    seed: Seed = 1
    parts: Annotated[dict[Name, Part], Field(min_length=1)]


class Features(Block):
    floor_dB: Annotated[float, Field(ge=-200, le=40)] = -80.0


class Network(NetworkSettings):
    corpus: str


class CodebookStage(Block):
    size: Annotated[int, Field(ge=2, le=1 << 20)] = 4096
    stop: Annotated[float, Field(gt=0)] = 1e-4
    seed: Seed = 1

    @model_validator(mode="after")
    def _power_of_two(self) -> CodebookStage:
        if self.size & (self.size - 1):
            raise refusal(f"size: found {self.size}, expected a power of two")
        return self


class Quantiser(Block):
    network: str
    thresh: float | None = None
    stages: Annotated[list[CodebookStage], Field(min_length=1)]


class Output(Block):
    index: Annotated[int, Field(ge=0)]
    tag: Tag
    processing: str = ""
    shows: str = ""
    process: Literal["original", "vocoder", "codec2"]
    networks: list[str] = []
    quantiser: str | None = None
    stages: Positive | None = None
    mbest: Positive = 5
    mode: Literal[3200, 2400, 1600, 1400, 1300, 1200] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Output:
        for name in ("stages", "mbest"):
            if name in self.model_fields_set and self.quantiser is None:
                raise refusal(f"has {name} without a quantiser, expected both")
        if len(set(self.networks)) < len(self.networks):
            raise refusal(f"networks: found {', '.join(self.networks)}, expected each once")
        if (self.process == "codec2") != (self.mode is not None):
            raise refusal("mode goes with process codec2, and only with it")
        if self.process != "vocoder" and (self.networks or self.quantiser):
            raise refusal("networks and quantiser go with process vocoder only")
        return self


class Experiment(Block):
    title: str = ""
    samples: Annotated[list[Name], Field(min_length=1)]
    outputs: Annotated[list[Output], Field(min_length=1)]


class Config(Block):
    speech_dir: str = "speech"
    features: Features = Features()
    sources: dict[Name, Source] = {}
    samples: dict[Name, Sample] = {}
    corpora: dict[Name, Corpus] = {}
    networks: dict[Name, Network] = {}
    quantisers: dict[Name, Quantiser] = {}
    experiments: Annotated[dict[Name, Experiment], Field(min_length=1)]


def load(raw: dict) -> Config:
    """Check a configuration as read from YAML; raises InputError, one line that names the key."""
    config = validate(Config, _with_text_keys(raw), "config")
    _check_references(config)
    return config


def _with_text_keys(value: Any) -> Any:
    """Experiments are named by dates, which YAML reads as numbers: make every key text."""
    if isinstance(value, dict):
        text = {str(key): _with_text_keys(item) for key, item in value.items()}
        if len(text) < len(value):
            twice = next(key for key in value if not isinstance(key, str) and str(key) in value)
            raise InputError(f"config: the key {twice} is there twice, with and without quotes, expected once")
        return text
    return [_with_text_keys(item) for item in value] if isinstance(value, list) else value


def _check_references(config: Config) -> None:
    """Every name in the configuration must be that of an entry."""

    def check(where: str, name: str | None, known: Any, what: str) -> None:
        if name is not None and name not in known:
            raise InputError(f"config: {where}: {name!r} names no {what}, {nearest(name, known)}")

    for name, sample in config.samples.items():
        check(f"samples.{name}.source", sample.source, config.sources, "source")
    for name, corpus in config.corpora.items():
        for part, settings in corpus.parts.items():
            check(f"corpora.{name}.parts.{part}.source", settings.source, config.sources, "source")
    for name, network in config.networks.items():
        check(f"networks.{name}.corpus", network.corpus, config.corpora, "corpus")
        for part, settings in config.corpora[network.corpus].parts.items():
            if ROWS[network.family, network.nn].target == "y" and settings.b and not settings.y:
                raise InputError(f"config: corpora.{network.corpus}.parts.{part}: has no y, which {name} is trained on")
    for name, quantiser in config.quantisers.items():
        check(f"quantisers.{name}.network", quantiser.network, config.networks, "network")
        if config.networks[quantiser.network].d is None:
            raise InputError(f"config: quantisers.{name}.network: {quantiser.network!r} has no bottleneck to quantise")
    for name, experiment in config.experiments.items():
        for i, sample in enumerate(experiment.samples):
            known = [*config.samples, *(path.stem for path in own_files(config))]
            check(f"experiments.{name}.samples.{i}", sample, known, f"sample or file in {config.speech_dir}/")
            if experiment.samples.index(sample) != i:
                raise InputError(f"config: experiments.{name}.samples.{i}: {sample!r} is there twice, expected once")
        for i, output in enumerate(experiment.outputs):
            _check_chain(config, f"experiments.{name}.outputs.{i}", output, check)
        seen: dict[str, int] = {}
        for sample in experiment.samples:
            for i, output in enumerate(experiment.outputs):
                published = f"{sample}_{output.index}_{output.tag}.wav"
                if published in seen:
                    raise InputError(
                        f"config: experiments.{name}.outputs.{i}: its file {published} is also that of "
                        f"outputs.{seen[published]}, expected another index or tag"
                    )
                seen[published] = i


def _check_chain(config: Config, where: str, output: Output, check: Any) -> None:
    """The networks of an output must follow each other from b to y_hat, its quantiser must belong to one."""
    for i, network in enumerate(output.networks):
        check(f"{where}.networks.{i}", network, config.networks, "network")
        settings = config.networks[network]
        last = i == len(output.networks) - 1
        if (ROWS[settings.family, settings.nn].target == "y") != last:
            raise InputError(
                f"config: {where}.networks.{i}: {network!r} makes {'y_hat' if not last else 'b_hat'}, expected "
                f"{'b_hat before the last network' if not last else 'y_hat from the last network'}"
            )
    if output.quantiser is None:
        return
    check(f"{where}.quantiser", output.quantiser, config.quantisers, "quantiser")
    quantiser = config.quantisers[output.quantiser]
    check(f"{where}.quantiser (of network {quantiser.network})", quantiser.network, output.networks, "network of it")
    if (output.stages or 1) > len(quantiser.stages):
        raise InputError(
            f"config: {where}.stages: found {output.stages}, but quantiser {output.quantiser!r} has "
            f"{len(quantiser.stages)} stages"
        )


def own_files(config: Config) -> list[Path]:
    """The user's own speech files, sorted."""
    return sorted(path for path in Path(config.speech_dir).glob("*") if path.suffix.lower() in OWN)
