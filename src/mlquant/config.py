"""The schema of config.yaml, and the plan it stands for: every stage with its settings, inputs and key.

Used by the Snakefile only. `load` checks the whole configuration, so that a mistake is one line that names
the key; `plan` turns it into stages. A stage's folder is `results/<kind>/<name>.<key>`, and the key is the
start of a SHA-256 over all that defines the result (see `_key`), so a stage is made once and is never stale.
"""

from __future__ import annotations

import ast
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from mlquant.architectures import ROWS, NetworkSettings
from mlquant.files import InputError
from mlquant.schema import Block, Positive, Seed, nearest, refusal, validate
from mlquant.speech import OWN, Choice, Sha256, Source, Url, audio_files

# --- the schema ------------------------------------------------------------------------------------------

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
            known = [*config.samples, *(path.stem for path in _own_files(config))]
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


def _own_files(config: Config) -> list[Path]:
    """The user's own speech files, sorted."""
    return sorted(path for path in Path(config.speech_dir).glob("*") if path.suffix.lower() in OWN)


# --- keys ------------------------------------------------------------------------------------------------


@cache
def code_of(command: str) -> str:
    """The meaning of a command: its functions in `cli` and every module of the package that they import.

    Parsed and written out again without docstrings, so comments and formatting do not count; nor does `schema`,
    which only words what is wrong with settings.
    """
    functions = {node.name: node for node in _parse("mlquant.cli").body if isinstance(node, ast.FunctionDef)}
    used: dict[str, str] = {}
    pending: set[str] = {command.replace("-", "_")}
    imported: set[str] = set()
    while pending:
        name = pending.pop()
        if name in functions and name not in used:
            used[name] = ast.unparse(functions[name])
            pending |= {node.id for node in ast.walk(functions[name]) if isinstance(node, ast.Name)}
            imported |= _imports(functions[name], "mlquant.cli")
    while imported:
        name = imported.pop()
        if name not in used and name != "mlquant.schema":
            used[name], more = _meaning(name)
            imported |= more
    return "\n".join(f"{name}\n{used[name]}" for name in sorted(used))


@cache
def _meaning(module: str) -> tuple[str, set[str]]:
    """The code of a module of the package, and the modules of the package that it imports."""
    tree = _parse(module)
    return ast.unparse(tree), _imports(tree, module)


@cache
def _parse(module: str) -> ast.Module:
    """The syntax tree of a module of the package, docstrings removed."""
    path = _module_path(module)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [
                item
                for item in body
                if not (
                    isinstance(item, ast.Expr)
                    and isinstance(item.value, ast.Constant)
                    and isinstance(item.value.value, str)
                )
            ]
            node.body = kept or [ast.Pass()]
    return tree


def _module_path(module: str) -> Path:
    base = Path(str(resources.files("mlquant"))).joinpath(*module.split(".")[1:])
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def _imports(tree: ast.AST, module: str) -> set[str]:
    """Modules of the package that the syntax tree of a module imports, at its top or inside functions."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            if source.split(".")[0] == "mlquant":
                names = [f"{source}.{alias.name}" for alias in node.names]
                found.update(name if _module_path(name).exists() else source for name in names)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.startswith("mlquant."))
    return found


@cache
def _digest_of_code(command: str) -> str:
    return hashlib.sha256(code_of(command).encode()).hexdigest()


@dataclass(frozen=True)
class Stage:
    """One run of a command: its folder is `results/<kind>/<name>.<key>`."""

    kind: str
    name: str
    key: str
    settings: dict
    inputs: dict[str, list[str]]

    @property
    def folder(self) -> str:
        return f"results/{self.kind}/{self.name}.{self.key}"

    @property
    def params(self) -> str:
        return json.dumps(self.settings, sort_keys=True)

    def file(self, name: str) -> str:
        return f"{self.folder}/{name}"


def _key(kind: str, command: str, settings: dict, inputs: dict[str, list[str]]) -> str:
    """First eight hex digits of a SHA-256 over what defines a result.

    Inputs are named by their paths: those of other stages hold their keys, a user's own files count by path.
    """
    text = json.dumps([kind, settings, inputs, _digest_of_code(command)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


# --- the plan --------------------------------------------------------------------------------------------


_NAMED = 50  # inputs of a stage that its record names one by one; it travels as one argument, 128 kB on Linux


@dataclass(frozen=True)
class ExperimentPlan:
    """What an experiment gathers: for each sample the stage that measures it, and where an optional one comes from."""

    name: str
    settings: dict
    measured: dict[str, Stage]
    optional: dict[str, Stage]
    curves: list[Stage]


class Plan:
    """All stages of a configuration, by folder, and the experiments made of them."""

    def __init__(self, config: Config):
        self.config = config
        self.stages: dict[str, Stage] = {}
        self._by_key: dict[tuple[str, str], Stage] = {}
        self.networks = {name: self._network(name) for name in config.networks}
        self.experiments = {name: self._experiment(name) for name in config.experiments}

    def __getitem__(self, folder: str) -> Stage:
        """The stage of a folder; InputError for one that the configuration does not make (any more)."""
        try:
            return self.stages[folder]
        except KeyError:
            hint = nearest(folder, self.stages)
            raise InputError(f"{folder}: nothing in the configuration makes it, {hint}") from None

    def gather_params(self, experiment: str) -> str:
        """What the gathering of an experiment depends on beside its files, as one JSON text."""
        code = _digest_of_code("gather")
        return json.dumps({**self.experiments[experiment].settings, "code": code}, sort_keys=True)

    def _add(self, kind: str, command: str, name: str, settings: dict, inputs: dict[str, list[str]]) -> Stage:
        """Register a stage; one that is the same as an earlier one in all but its name is that one."""
        key = _key(kind, command, settings, inputs)
        stage = self._by_key.setdefault((kind, key), Stage(kind, name, key, settings, inputs))
        return self.stages.setdefault(stage.folder, stage)

    # speech

    def _source(self, name: str, source: Source, optional: bool = False) -> Stage:
        kind = "optional_sources" if optional else "sources"
        return self._add(kind, "fetch", name, source.model_dump(exclude_defaults=True) | {"name": name}, {})

    def _sample(self, name: str) -> tuple[Stage, Stage | None]:
        """The stage that makes a sample's speech, and the one that fetches it when it is optional."""
        own = [path for path in _own_files(self.config) if path.stem == name]
        if own:
            return self._add("samples", "prepare-sample", name, {}, {"speech": [str(own[0])]}), None
        sample = self.config.samples[name]
        if sample.source:
            archive = self._source(sample.source, self.config.sources[sample.source])
        elif sample.url:
            url = Url(url=sample.url, sha256=sample.sha256)
            archive = self._source(name, Source(urls=[url]), sample.optional)
        else:
            raise InputError(
                f"config: samples.{name}: has no source and no url, and there is no {self.config.speech_dir}/{name}.wav"
            )
        settings = {"member": sample.file or "*", "sha256": sample.sha256}
        speech = self._add("samples", "prepare-sample", name, settings, {"speech": [archive.file("speech.tar")]})
        return speech, archive if sample.optional else None

    def _features(self, name: str, speech: Stage) -> Stage:
        """Analysis and features of speech; the model is the features' input."""
        model = self._add("models", "analyse", name, {}, {"speech": [speech.file("speech.raw")]})
        settings = self.config.features.model_dump()
        return self._add("features", "features", name, settings, {"model": [model.file("model.bin")]})

    def _corpus(self, name: str) -> tuple[list[str], list[str]]:
        """The b and the y files of a corpus, a pair for each part."""
        corpus = self.config.corpora[name]
        b, y = [], []
        for part_name, part in corpus.parts.items():
            if part.b:
                b.append(part.b)
                y += [part.y] if part.y else []
                continue
            settings = {
                "seed": corpus.seed,
                **part.model_dump(include=set(Choice.model_fields)),
            }
            if part.source:
                archive = self._source(part.source, self.config.sources[part.source])
                files = [archive.file("speech.tar")]
            else:
                settings["files"] = part.files
                try:
                    files = audio_files(part.files)
                except InputError as error:
                    raise InputError(f"config: corpora.{name}.parts.{part_name}.{error}") from None
            label = f"{name}_{part_name}"
            speech = self._add("corpora", "prepare-corpus", label, settings, {"speech": files})
            features = self._features(label, speech)
            b.append(features.file("b.f32"))
            y.append(features.file("y.f32"))
        return b, y

    # networks and quantisers

    def _network(self, name: str) -> Stage:
        settings = self.config.networks[name]
        b, y = self._corpus(settings.corpus)
        inputs = {"features": b}
        if ROWS[settings.family, settings.nn].target == "y":
            inputs["targets"] = y
        return self._add("networks", "train", name, settings.model_dump(exclude={"corpus"}), inputs)

    def _codebooks(self, name: str, stages: int) -> list[str]:
        """The codebook files of the first stages of a quantiser; each is trained on the residual of the last."""
        quantiser = self.config.quantisers[name]
        network = self.config.networks[quantiser.network]
        weights = self.networks[quantiser.network].file("weights.safetensors")
        b, _ = self._corpus(network.corpus)
        latents = self._add(
            "latents", "encode", network.corpus, {"thresh": quantiser.thresh}, {"weights": [weights], "features": b}
        )
        train, codebooks = latents.file("l.f32"), []
        for i, stage in enumerate(quantiser.stages[:stages], 1):
            settings = {"k": network.d, **stage.model_dump()}
            codebook = self._add("codebooks", "vq-train", f"{name}_{i}", settings, {"train": [train]})
            codebooks.append(codebook.file("vq.f32"))
            train = codebook.file("residual.f32")
        return codebooks

    # what is made of a sample

    def _experiment(self, name: str) -> ExperimentPlan:
        experiment = self.config.experiments[name]
        measured, optional = {}, {}
        for sample in experiment.samples:
            speech, fetched = self._sample(sample)
            features = self._features(sample, speech)
            rows = [self._output(sample, speech, features, output) for output in experiment.outputs]
            measured[sample] = self._measure(name, sample, rows)
            if fetched:
                optional[sample] = fetched
        used = {network: None for output in experiment.outputs for network in output.networks}
        curves = [
            self._add("figures", "plot-losses", network, {"title": network}, {"losses": [stage.file("losses.csv")]})
            for network, stage in ((network, self.networks[network]) for network in used)
        ]
        settings = {"name": name, **experiment.model_dump(), "speech_dir": self.config.speech_dir}
        return ExperimentPlan(name, settings, measured, optional, curves)

    def _measure(self, experiment: str, sample: str, rows: list[dict]) -> Stage:
        """Measures of one sample; its settings record every stage behind the sample's outputs."""
        files = sorted({path for row in rows for path in row["files"].values() if path})
        sex = self.config.samples[sample].sex if sample in self.config.samples else None
        settings = {"sample": sample, "sex": sex, "rows": rows, "stages": self._behind(files)}
        return self._add("measures", "measure", f"{experiment}_{sample}", settings, {"files": files})

    def _behind(self, files: list[str]) -> dict[str, dict]:
        """Folder to settings and inputs of every stage that the files come from."""
        found: dict[str, dict] = {}
        pending = list(files)
        while pending:
            folder = str(Path(pending.pop()).parent)
            if folder in self.stages and folder not in found:
                stage = self.stages[folder]
                # Of a corpus of many own files the manifest beside it lists each, with its checksum.
                inputs = {
                    name: paths if len(paths) <= _NAMED else f"{len(paths)} files, from {paths[0]} to {paths[-1]}"
                    for name, paths in stage.inputs.items()
                }
                found[folder] = {"key": stage.key, "settings": stage.settings, "inputs": inputs}
                pending += [path for paths in stage.inputs.values() for path in paths]
        return dict(sorted(found.items()))

    def _output(self, sample: str, speech: Stage, features: Stage, output: Output) -> dict:
        """One output of one sample: its index, tag, bit rate, and the files to measure it by."""
        model = features.inputs["model"][0]
        files: dict[str, str | None] = {}
        bits, frame_ms = None, 10
        if output.process == "original":
            wav = self._add("resynthesised", "resynth", sample, {}, {"model": [model]})
        elif output.process == "codec2":
            wav = self._add("anchors", "anchor", sample, {"mode": output.mode}, {"speech": [speech.file("speech.raw")]})
            frame_ms = 20 if output.mode in (3200, 2400) else 40
            bits = output.mode * frame_ms // 1000
        else:
            hat = features.file("b.f32") if output.networks else features.file("y.f32")
            for network in output.networks:
                if output.quantiser and self.config.quantisers[output.quantiser].network == network:
                    hat, quantised = self._quantised(sample, hat, features, output)
                    files |= quantised
                    stages = self.config.quantisers[output.quantiser].stages[: output.stages]
                    bits = sum(stage.size.bit_length() - 1 for stage in stages)
                    frame_ms = 10 * self.config.networks[network].ncat
                else:
                    hat = self._inferred(sample, network, hat, features)
                if self._target(network) == "b":
                    files |= {"b": features.file("b.f32"), "b_hat": hat}
            files |= {"y": features.file("y.f32"), "y_hat": hat, "features": features.file("b.f32")}
            wav = self._add("synthesised", "synth", sample, {}, {"model": [model], "y_hat": [hat]})
        return {
            "index": output.index,
            "tag": output.tag,
            "bits_per_frame": bits,
            "frame_ms": frame_ms if bits else None,
            "files": {"wav": wav.file("speech.wav"), **files},
        }

    def _target(self, network: str) -> str:
        settings = self.config.networks[network]
        return ROWS[settings.family, settings.nn].target

    def _inferred(self, sample: str, network: str, b: str, features: Stage) -> str:
        """Features straight through a network."""
        inputs = {"weights": [self.networks[network].file("weights.safetensors")], "features": [b]}
        if self._target(network) == "y":
            inputs["energy"] = [features.file("y.f32")]
        return self._add("inferred", "infer", f"{sample}_{network}", {}, inputs).file("hat.f32")

    def _quantised(self, sample: str, b: str, features: Stage, output: Output) -> tuple[str, dict[str, str]]:
        """Features through a network with its latents quantised; and the latents before and after."""
        quantiser = self.config.quantisers[output.quantiser]
        stages = output.stages or len(quantiser.stages)
        name = f"{sample}_{quantiser.network}"
        weights = self.networks[quantiser.network].file("weights.safetensors")
        latents = self._add("latents", "encode", name, {"thresh": None}, {"weights": [weights], "features": [b]})
        d = self.config.networks[quantiser.network].d
        searched = self._add(
            "quantised",
            "vq-search",
            f"{sample}_{output.quantiser}",
            {"k": d, "mbest": output.mbest},
            {"latents": [latents.file("l.f32")], "codebooks": self._codebooks(output.quantiser, stages)},
        )
        inputs = {"weights": [weights], "latents": [searched.file("l_hat.f32")], "features": [b]}
        if self._target(quantiser.network) == "y":
            inputs["energy"] = [features.file("y.f32")]
        decoded = self._add("decoded", "decode", name, {}, inputs)
        return decoded.file("hat.f32"), {"l": latents.file("l.f32"), "l_hat": searched.file("l_hat.f32")}
