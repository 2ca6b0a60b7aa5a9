"""The plan that a configuration stands for: every stage with its settings, inputs and key.

Used by the Snakefile only. Stages come in the order of the graph: speech, models, features, networks, codebooks,
then what is made of each sample of each experiment. Of stages that are the same in all but their name there is
one, under the name that comes first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from mlquant import keys
from mlquant.architectures import latent_width
from mlquant.config import AnalogStudy, Config, DemoStudy, MbestStudy, Output, UniformStudy, channel_networks, own_files
from mlquant.files import InputError
from mlquant.schema import nearest
from mlquant.speech import Choice, Source, Url, audio_files


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


_NAMED = 50  # inputs of a stage that its record names one by one; it travels as one argument, 128 kB on Linux


@dataclass(frozen=True)
class ExperimentPlan:
    """What an experiment gathers: for each sample the stage that measures it, and where an optional one comes from."""

    settings: dict
    measured: dict[str, Stage]
    optional: dict[str, Stage]
    curves: list[Stage]


@dataclass(frozen=True)
class Summary:
    """What a sweep's or a study's folder is made of: settings, paths among them, and all files that it takes."""

    settings: dict
    files: list[str]


class Plan:
    """All stages of a configuration, by folder, and the experiments, sweeps and studies made of them."""

    def __init__(self, config: Config):
        self.config = config
        self.stages: dict[str, Stage] = {}
        self._by_key: dict[tuple[str, str], Stage] = {}
        # Every network, and every quantised output of every sample, asks for these again.
        self._corpora: dict[str, tuple[list[str], list[str]]] = {}
        self._trained: dict[tuple[str, int], list[str]] = {}
        self.networks = {name: self._network(name) for name in config.networks}
        self.experiments = {name: self._experiment(name) for name in config.experiments}
        self.sweeps = {name: self._sweep(name) for name in config.sweeps}
        self.studies = {name: self._study(name) for name in config.studies}

    def __getitem__(self, folder: str) -> Stage:
        """The stage of a folder; InputError for one that the configuration does not make (any more)."""
        if folder not in self.stages:
            raise InputError(f"{folder}: nothing in the configuration makes it, {nearest(folder, self.stages)}")
        return self.stages[folder]

    def params(self, command: str, settings: dict) -> str:
        """What a folder that is not keyed depends on beside its files, as one JSON text."""
        return json.dumps({**settings, "code": keys.digest_of_code(command)}, sort_keys=True)

    def _add(self, kind: str, command: str, name: str, settings: dict, inputs: dict[str, list[str]]) -> Stage:
        """Register a stage; one that is the same as an earlier one in all but its name is that one."""
        key = keys.stage_key(kind, command, settings, inputs)
        stage = self._by_key.setdefault((kind, key), Stage(kind, name, key, settings, inputs))
        return self.stages.setdefault(stage.folder, stage)

    # speech

    def _source(self, name: str, source: Source, optional: bool = False) -> Stage:
        kind = "optional_sources" if optional else "sources"
        return self._add(kind, "fetch", name, source.model_dump(exclude_defaults=True) | {"name": name}, {})

    def _sample(self, name: str) -> tuple[Stage, Stage | None]:
        """The stage that makes a sample's speech, and the one that fetches it when it is optional."""
        own = [path for path in own_files(self.config) if path.stem == name]
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
        if name in self._corpora:
            return self._corpora[name]
        corpus = self.config.corpora[name]
        b, y = [], []
        for part_name, part in corpus.parts.items():
            if part.b:
                b.append(part.b)
                y += [part.y] if part.y else []
                continue
            settings = {"seed": corpus.seed, **part.model_dump(include=set(Choice.model_fields))}
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
        self._corpora[name] = b, y
        return b, y

    # networks and quantisers

    def _network(self, name: str) -> Stage:
        settings = self.config.networks[name]
        b, y = self._corpus(settings.corpus)
        inputs = {"features": b}
        if settings.row.target == "y":
            inputs["targets"] = y
        # A derived network is named by its place: sweeps.gamma.rows.g85 is gamma_g85.
        label = name if "." not in name else "_".join([name.split(".")[1], *name.split(".")[3:]])
        return self._add("networks", "train", label, settings.model_dump(exclude={"corpus"}), inputs)

    def _codebooks(self, name: str, stages: int) -> list[str]:
        """The codebook files of the first stages of a quantiser; each is trained on the residual of the last."""
        if (name, stages) in self._trained:
            return self._trained[name, stages]
        quantiser = self.config.quantisers[name]
        network = self.config.networks[quantiser.network]
        weights = self.networks[quantiser.network].file("weights.safetensors")
        settings = {"thresh": quantiser.thresh, "training_share": True}
        inputs = {"weights": [weights], "features": self._corpus(network.corpus)[network.row.source == "y"]}
        train, codebooks = self._add("latents", "encode", network.corpus, settings, inputs).file("l.f32"), []
        for i, stage in enumerate(quantiser.stages[:stages], 1):
            settings = {"k": latent_width(network.model_dump()), **stage.model_dump()}
            codebook = self._add("codebooks", "vq-train", f"{name}_{i}", settings, {"train": [train]})
            codebooks.append(codebook.file("vq.f32"))
            train = codebook.file("residual.f32")
        self._trained[name, stages] = codebooks
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
        curves = []
        for network in dict.fromkeys(network for output in experiment.outputs for network in output.networks):
            losses = self.networks[network].file("losses.csv")
            curves.append(self._add("figures", "plot-losses", network, {"title": network}, {"losses": [losses]}))
        settings = {"name": name, **experiment.model_dump(), "speech_dir": self.config.speech_dir}
        return ExperimentPlan(settings, measured, optional, curves)

    def _measure(self, experiment: str, sample: str, rows: list[dict]) -> Stage:
        """Measures of one sample; its settings record every stage behind the sample's outputs."""
        files = sorted({path for row in rows for path in row["files"].values()})
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
        files: dict[str, str] = {}
        bits, frame_ms = None, None
        if output.process == "original":
            wav = self._add("resynthesised", "resynth", sample, {}, {"model": [model]})
        elif output.process == "codec2":
            wav = self._add("anchors", "anchor", sample, {"mode": output.mode}, {"speech": [speech.file("speech.raw")]})
            frame_ms = 20 if output.mode in (3200, 2400) else 40
            bits = output.mode * frame_ms // 1000
        else:
            takes_b = output.networks and self.config.networks[output.networks[0]].row.source == "b"
            hat = features.file("b.f32" if takes_b else "y.f32")
            for network in output.networks:
                if output.quantiser and self.config.quantisers[output.quantiser].network == network:
                    hat, quantised = self._quantised(sample, hat, features, output)
                    files |= quantised
                    stages = self.config.quantisers[output.quantiser].stages[: output.stages]
                    bits = sum(stage.size.bit_length() - 1 for stage in stages)
                    frame_ms = 10 * self.config.networks[network].ncat
                else:
                    hat = self._inferred(sample, network, hat, features, output)
                if self.config.networks[network].row.target == "b":
                    files |= {"b": features.file("b.f32"), "b_hat": hat}
            files |= {"y": features.file("y.f32"), "y_hat": hat, "features": features.file("b.f32")}
            wav = self._add("synthesised", "synth", sample, {}, {"model": [model], "y_hat": [hat]})
        row = {"index": output.index, "tag": output.tag, "bits_per_frame": bits, "frame_ms": frame_ms}
        return row | {"files": {"wav": wav.file("speech.wav"), **files}}

    def _inferred(self, sample: str, network: str, hat: str, features: Stage, output: Output) -> str:
        """Features straight through a network."""
        inputs = {"weights": [self.networks[network].file("weights.safetensors")], "features": [hat]}
        if self.config.networks[network].row.target == "y":
            inputs["energy"] = [features.file("y.f32")]
        noisy = output.noise_var and self.config.networks[network].d
        settings = output.model_dump(include={"noise_var", "seed"}) if noisy else {}
        return self._add("inferred", "infer", f"{sample}_{network}", settings, inputs).file("hat.f32")

    def _quantised(self, sample: str, b: str, features: Stage, output: Output) -> tuple[str, dict[str, str]]:
        """Features through a network with its latents quantised; and the latents before and after."""
        quantiser = self.config.quantisers[output.quantiser]
        network = self.config.networks[quantiser.network]
        name = f"{sample}_{quantiser.network}"
        weights = self.networks[quantiser.network].file("weights.safetensors")
        latents = self._add("latents", "encode", name, {}, {"weights": [weights], "features": [b]})
        codebooks = self._codebooks(output.quantiser, output.stages or len(quantiser.stages))
        settings = {"k": latent_width(network.model_dump()), "mbest": output.mbest}
        inputs = {"latents": [latents.file("l.f32")], "codebooks": codebooks}
        searched = self._add("quantised", "vq-search", f"{sample}_{output.quantiser}", settings, inputs)
        inputs = {"weights": [weights], "latents": [searched.file("l_hat.f32")], "features": [b]}
        if network.row.target == "y":
            inputs["energy"] = [features.file("y.f32")]
        decoded = self._add("decoded", "decode", name, {}, inputs)
        return decoded.file("hat.f32"), {"l": latents.file("l.f32"), "l_hat": searched.file("l_hat.f32")}

    # what compares networks and quantisers

    def _sweep(self, name: str) -> Summary:
        """The networks of a sweep, a variant each, labelled with what their rows change."""
        sweep, variants = self.config.sweeps[name], []
        for network, settings in self.config.networks.items():
            if not network.startswith(f"sweeps.{name}.rows."):
                continue
            row, *seed = network.split(".")[3:]
            changes = [f"{key} {value}" for key, value in sweep.rows[row].items()] + seed
            label = f"{row}: {', '.join(changes)}" if changes else row
            variant = {"variant": "_".join([row, *seed]), "label": label, "folder": self.networks[network].folder}
            variants.append(variant | {"settings": settings.model_dump()})
        files = [f"{variant['folder']}/{file}" for variant in variants for file in ("losses.csv", "training.json")]
        return Summary({"name": name, "title": sweep.title, "variants": variants}, files)

    def _study(self, name: str) -> Summary:
        """What a study looks at: its settings with the paths of networks, codebooks and speech put in."""
        study = self.config.studies[name]
        quantiser = self.config.quantisers.get(getattr(study, "quantiser", None))
        network = quantiser.network if quantiser else study.network
        trained = self.config.networks[network]
        weights = self.networks[network].file("weights.safetensors")
        b, y = self._corpus(trained.corpus)
        files = {"weights": weights, "features": b, "targets": y if trained.row.target == "y" else []}
        if quantiser:
            stages = study.stages if isinstance(study, AnalogStudy) else len(quantiser.stages)
            files["codebooks"] = self._codebooks(study.quantiser, stages)
            files["traces"] = [str(Path(path).with_name("trace.csv")) for path in files["codebooks"]]
        if sample := getattr(study, "sample", None):
            features = self._features(sample, self._sample(sample)[0])
            files |= {"b": features.file("b.f32"), "y": features.file("y.f32"), "model": features.inputs["model"][0]}
        if isinstance(study, DemoStudy):
            files = {"weights": weights, "losses": self.networks[network].file("losses.csv"), "features": [files["b"]]}
        if isinstance(study, AnalogStudy):
            files["quantiser"] = {"weights": weights, "codebooks": files.pop("codebooks"), "mbest": study.mbest}
            files["manifold"] = self.networks[study.manifold].file("weights.safetensors")
            files["networks"] = [
                {"d": d, "snr_dB": snr, "weights": self.networks[place].file("weights.safetensors")}
                for place, d, snr in channel_networks(name, study)
            ]
        settings = {"frame_ms": 10 * trained.ncat, **study.model_dump(exclude={"base"}), **files}
        if isinstance(study, UniformStudy | MbestStudy):
            settings["thresh"] = quantiser.thresh
        return Summary({**settings, "name": name}, _paths(files))


def _paths(value: object) -> list[str]:
    """All texts in nested dicts and lists: the paths among a study's settings."""
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return list(dict.fromkeys(path for item in items for path in _paths(item)))
