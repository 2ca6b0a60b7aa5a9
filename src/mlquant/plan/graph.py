"""The graph: what is made of what, from speech to measures, in the order in which it is made.

A node is one run of a stage's command: its folder is `results/<folder>/<name>.<key>`. Nodes that are the same in all
but their names are one node, under the name that comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mlquant.chains import steps
from mlquant.core import keys
from mlquant.core.blocks import nearest
from mlquant.core.errors import InputError
from mlquant.core.stage import Stage, stage_of
from mlquant.measures import stages as measures
from mlquant.networks import stages as networks
from mlquant.networks.rows import latent_width
from mlquant.networks.settings import NetworkSettings
from mlquant.plan.config import own_files
from mlquant.plan.records import WITH_SIDECAR, recorded
from mlquant.quantisers import stages as quantisers
from mlquant.speech import stages as speech
from mlquant.speech.settings import AS_IT_IS, Choice, SeededChoice, Source, Url, audio_files
from mlquant.studies import stages as studies
from mlquant.vocoder import stages as vocoder
from mlquant.vocoder.types import MODES

if TYPE_CHECKING:
    from mlquant.chains.settings import Chain, Output, RatedChain
    from mlquant.plan.config import Config

HELD_OUT = NetworkSettings.model_fields["held_out"].default
"""Share of each part of a corpus that quantisers of b are not trained on."""
PESQ = find_spec("pesq") is not None


@dataclass(frozen=True)
class Node:
    """One run of a stage, with all its settings, and its inputs by the names of the stage's parameters."""

    stage: Stage
    kind: str
    name: str
    key: str
    settings: dict[str, Any]
    inputs: dict[str, list[str]]

    @property
    def folder(self) -> str:
        return f"results/{self.kind}/{self.name}.{self.key}"

    @property
    def command(self) -> str:
        return self.stage.command

    def file(self, name: str) -> str:
        return f"{self.folder}/{name}"


@dataclass(frozen=True)
class Sample:
    """The paths of a sample's speech, of its model and of its features, which every output is made from.

    `optional` is the node that fetches the speech, if the sample may be left out.
    """

    name: str
    speech: str
    model: str
    b: str
    y: str
    optional: Node | None


class Graph:
    """All nodes of a configuration, by folder.

    A method adds the nodes of what it is named for, unless they are there, and returns the last of them or its files.
    """

    def __init__(self, config: Config):
        self.config = config
        self.nodes: dict[str, Node] = {}
        self.networks: dict[str, Node] = {}
        self._by_key: dict[tuple[str, str], Node] = {}
        self._own = {path.stem: str(path) for path in reversed(own_files(config))}
        # These are kept because every network, and every quantised output of every sample, asks for them again.
        self._corpora: dict[tuple[str, bool], tuple[list[str], list[str]]] = {}
        self._codebooks: dict[tuple[str, int], list[str]] = {}
        self._samples: dict[str, Sample] = {}

    def __getitem__(self, folder: str) -> Node:
        """The node of a folder; InputError for one that the configuration does not make (any more)."""
        if folder not in self.nodes:
            raise InputError(f"{folder}: nothing in the configuration makes it, {nearest(folder, self.nodes)}")
        return self.nodes[folder]

    def add(
        self,
        function: Callable,
        name: str,
        settings: Mapping[str, Any] | None = None,
        counted: Mapping[str, Any] | None = None,
        /,
        **inputs: Sequence[str] | str,
    ) -> Node:
        """Add a node and return it; if an earlier node is the same in all but its name, return that one.

        `counted` is given for a stage that takes all settings as one JSON text: those of them that the key counts,
        which leaves out the ones at their neutral value and the ones that only record something.
        """
        stage = stage_of(function)
        return self._add(stage, str(stage.folder), name, settings or {}, inputs, counted)

    def _add(
        self, stage: Stage, kind: str, name: str, settings: Mapping, inputs: Mapping, counted: Mapping | None = None
    ) -> Node:
        taken = {name: [paths] if isinstance(paths, str) else [*paths] for name, paths in inputs.items()}
        taken = {name: paths for name, paths in taken.items() if paths}
        stage.check_inputs(taken)
        filled = stage.filled(settings)
        if counted is None:
            counted = keys.without_neutral(filled, stage.neutral)
        key = keys.stage_key(kind, counted, taken, keys.digest((stage.entry,)))
        node = self._by_key.setdefault((kind, key), Node(stage, kind, name, key, filled, taken))
        return self.nodes.setdefault(node.folder, node)

    # speech

    def source(self, name: str, source: Source, optional: bool = False) -> Node:
        """The node that fetches a source. An optional source is of another kind, because it may give nothing."""
        settings = source.model_dump(exclude_defaults=True) | {"name": name}
        return self._add(stage_of(speech.fetch), "optional_sources" if optional else "sources", name, settings, {})

    def sample(self, name: str) -> Sample:
        """A sample's speech, its model and its features."""
        if name not in self._samples:
            raw, optional = self._speech_of(name)
            features = self.features(name, raw)
            model, b, y = features.inputs["model"][0], features.file("b.f32"), features.file("y.f32")
            self._samples[name] = Sample(name, raw.file("speech.raw"), model, b, y, optional)
        return self._samples[name]

    def _speech_of(self, name: str) -> tuple[Node, Node | None]:
        """The node that makes a sample's speech, and the one that fetches it when it is optional."""
        if own := self._own.get(name):
            return self.add(speech.prepare_sample, name, speech=own), None
        sample = self.config.samples[name]
        if sample.source:
            archive = self.source(sample.source, self.config.sources[sample.source])
        elif sample.url:
            url = Url(url=sample.url, sha256=sample.sha256)
            archive = self.source(name, Source(urls=[url]), sample.optional)
        else:
            raise InputError(
                f"config: samples.{name}: has no source and no url, and there is no {self.config.speech_dir}/{name}.wav"
            )
        settings = {"member": sample.file or "*", "sha256": sample.sha256}
        raw = self.add(speech.prepare_sample, name, settings, speech=archive.file("speech.tar"))
        return raw, archive if sample.optional else None

    def corpus(self, name: str, held_out: bool = False) -> tuple[list[str], list[str]]:
        """The b and the y files of a corpus, a pair for each part: of the voices to train on, or of those held out."""
        if (name, held_out) in self._corpora:
            return self._corpora[name, held_out]
        corpus = self.config.corpora[name]
        b, y = [], []
        for part_name, part in corpus.parts.items():
            if part.held_out != held_out and not part.speakers:
                continue
            if part.b:
                b.append(part.b)
                y += [part.y] if part.y else []
                continue
            try:
                prepared = self._part(f"{name}_{part_name}", corpus.seed, part, held_out)
            except InputError as error:
                raise InputError(f"config: corpora.{name}.parts.{part_name}.{error}") from None
            made = [self.features(node.name, node) for node in prepared]
            b += [node.file("b.f32") for node in made]
            y += [node.file("y.f32") for node in made]
        self._corpora[name, held_out] = b, y
        return b, y

    def _part(self, label: str, seed: int, part: Any, held_out: bool) -> list[Node]:
        """The nodes that prepare a part's speech: one, or one for each shard of its files."""
        settings = {"seed": seed, **part.model_dump(include=set(Choice.model_fields))}
        if part.speakers and held_out:  # measured on as they are, whatever is trained on
            settings |= {"held_out": True, **AS_IT_IS}
            label += "_held_out"
        if part.source:
            archive = self.source(part.source, self.config.sources[part.source])
            return [self._prepared(label, settings, speech=archive.file("speech.tar"))]
        files, shards = audio_files(part.files), part.shards
        if len(files) < shards:
            raise InputError(f"shards: found {shards}, expected at most {len(files)}, the files in {part.files}")
        settings["files"] = part.files
        if shards == 1:
            return [self._prepared(label, settings, own=files)]
        if part.minutes:
            settings["minutes"] = part.minutes / shards
        numbered = [settings | {"shard": shard, "shards": shards} for shard in range(shards)]
        return [
            self._prepared(f"{label}_{shard + 1}", of_it, own=files[shard::shards])
            for shard, of_it in enumerate(numbered)
        ]

    def _prepared(self, label: str, settings: dict[str, Any], **inputs: Sequence[str] | str) -> Node:
        """Training speech, chosen and prepared."""
        counted = keys.without_neutral(settings, keys.neutral_of(SeededChoice))
        return self.add(speech.prepare_corpus, label, settings, counted, **inputs)

    # features

    def features(self, name: str, prepared: Node) -> Node:
        """Analysis and features of speech; the model is the features' input."""
        model = self.add(vocoder.analyse, name, speech=prepared.file("speech.raw"))
        return self.add(vocoder.features, name, self.config.features.model_dump(), model=model.file("model.bin"))

    # networks

    def network(self, name: str) -> Node:
        """A trained network."""
        if name in self.networks:
            return self.networks[name]
        block = self.config.networks[name]
        b, y = self.corpus(block.corpus)
        others_b, others_y = self.corpus(block.corpus, held_out=True)
        makes_y = block.row.target == "y"
        inputs: dict[str, Sequence[str] | str] = {
            "features": b,
            "targets": y if makes_y else [],
            "held_out_features": others_b,
            "held_out_targets": others_y if makes_y and others_b else [],
        }
        # A derived network is named by its place: sweeps.gamma.rows.g85 is gamma_g85.
        label = name if "." not in name else "_".join([name.split(".")[1], *name.split(".")[3:]])
        settings = block.model_dump(include={*NetworkSettings.model_fields})
        function: Callable = networks.train
        given = inputs
        if block.initial:
            function, given = quantisers.train_on, inputs | self._trained_on(block, inputs)
        counted = keys.without_neutral(settings, keys.neutral_of(NetworkSettings))
        self.networks[name] = self.add(function, label, settings, counted, **given)
        return self.networks[name]

    def _trained_on(self, block: Any, inputs: Mapping[str, Sequence[str] | str]) -> dict[str, Sequence[str] | str]:
        """The further inputs of a network that is trained on from another: weights, and quantised inputs or codebooks.

        A decoder takes quantised latents of every file that its encoder takes, any other network b_hat in place of b.
        """
        initial = self.network(block.initial).file("weights.safetensors")
        if block.vq_in_loop:
            return {"initial": initial, "codebooks": self.codebooks(block.quantiser, block.stages)}
        of = self.config.quantisers[block.quantiser].network
        changed: dict[str, list[str]] = {}
        given = "features" if block.row.source == "b" else "targets"
        for prefix in ("", "held_out_"):
            for features in inputs[f"{prefix}{given}"]:
                made_by = self.nodes.get(features.rpartition("/")[0])  # None: no node makes a user's own features
                name = made_by.name if made_by else "features"
                if block.row.encoder:
                    assert of  # a network with an encoder is refused with a quantiser of b
                    vectors = self.latents(name, of, features)
                    changed.setdefault(f"{prefix}latents", []).append(self._quantised(name, vectors, block))
                else:
                    hat = self._hat(name, features, block)
                    changed.setdefault(f"{prefix}features", []).append(hat)
        return {"initial": initial, **changed}

    def _hat(self, name: str, features: str, block: Any) -> str:
        """b_hat of features through a quantiser, of b or of a network's latents."""
        of = self.config.quantisers[block.quantiser].network
        if of is None:
            return self._restored(name, self._quantised(name, self._shape(name, features), block), features)
        l_hat = self._quantised(name, self.latents(name, of, features), block)
        return self._decoded(name, of, l_hat, features, None)

    def latents(self, name: str, network: str, features: str) -> str:
        """Latents of features, by a network."""
        trained = self.network(network)
        weights = trained.file("weights.safetensors")
        return self.add(networks.encode, f"{name}_{trained.name}", weights=weights, features=features).file("l.f32")

    # quantisers

    def codebooks(self, name: str, stages: int | None) -> list[str]:
        """The codebook files of the first stages of a quantiser, or of all.

        A stage is trained on the residual of the stage before it, or on those of all survivors where there are several.
        """
        quantiser = self.config.quantisers[name]
        stages = stages or len(quantiser.stages)
        if (name, stages) in self._codebooks:
            return self._codebooks[name, stages]
        train, codebooks = self._to_train_on(quantiser), list[str]()
        mbest = getattr(quantiser, "mbest", None)
        predicted = self._prediction(quantiser)
        for i, one in enumerate(quantiser.stages[:stages], 1):
            settings = {"k": self._width(quantiser), "m": one.size, "stop": one.stop, "seed": one.seed, **predicted[0]}
            label = f"{name.removeprefix('studies.').replace('.', '_')}_{i}"
            if mbest and codebooks:
                settings["mbest"] = mbest
                beam = {"train": train, "after": [*codebooks], **predicted[1]}
                codebook = self.add(quantisers.vq_train_beam, label, settings, **beam)
            else:
                codebook = self.add(quantisers.vq_train, label, settings, train=train, **predicted[1])
            codebooks.append(codebook.file("vq.f32"))
            train = train if mbest else codebook.file("residual.f32")
        self._codebooks[name, stages] = codebooks
        return codebooks

    def _to_train_on(self, quantiser: Any) -> str:
        """The vectors that a quantiser's codebooks are trained on, in pairs for prediction."""
        settings: dict[str, Any] = {"thresh": quantiser.thresh}
        if quantiser.kind == "predictive":
            settings["pairs"] = self.config.send_every(quantiser)
        if quantiser.network is None:
            settings["held_out"] = HELD_OUT
            features = self.corpus(quantiser.corpus)[0]
            return self.add(quantisers.remove_gain, quantiser.corpus, settings, features=features).file("shape.f32")
        network = self.config.networks[quantiser.network]
        weights = self.network(quantiser.network).file("weights.safetensors")
        settings["training_share"] = True
        features = self.corpus(network.corpus)[network.row.source == "y"]
        node = self.add(networks.encode, network.corpus, settings, weights=weights, features=features)
        return node.file("l.f32")

    def _prediction(self, quantiser: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """Settings and inputs of prediction: the given coefficient, or the file of a fitted one."""
        if quantiser.kind != "predictive":
            return {}, {}
        if quantiser.predict != "fit":
            return {"predict": str(quantiser.predict)}, {}
        name = quantiser.network or quantiser.corpus
        settings = {"k": self._width(quantiser)}
        fitted = self.add(quantisers.vq_predictor, name, settings, pairs=self._to_train_on(quantiser))
        return {}, {"predictor": fitted.file("a.f32")}

    def _width(self, quantiser: Any) -> int:
        """Elements of a vector."""
        if not quantiser.network:
            return 20
        width = latent_width(self.config.networks[quantiser.network].model_dump())
        assert width  # a quantiser of a network without a bottleneck is refused
        return width

    # a chain of steps, over the files of a sample

    def coded(self, sample: Sample, chain: Chain) -> dict[str, str]:
        """The files that the steps of a chain make of a sample: l, l_hat, b_hat, y_hat and wav, as far as they do."""
        config, files = self.config, {"y": sample.y}
        hat = sample.b if chain.networks and config.networks[chain.networks[0]].row.source == "b" else sample.y
        vectors = hat
        for step in steps.steps_of(chain.networks, chain.quantiser, chain.stages, config.networks, config.quantisers):
            match step:
                case steps.RemoveGain():
                    vectors = self._shape(sample.name, hat)
                case steps.Encode(network):
                    vectors = self.latents(sample.name, network, hat)
                case steps.Quantise():
                    files |= {"l": vectors, "l_hat": (vectors := self._quantised(sample.name, vectors, chain))}
                case steps.RestoreGain():
                    hat = self._restored(sample.name, vectors, hat)
                case steps.Decode(network):
                    hat = self._decoded(sample.name, network, vectors, hat, sample.y)
                case steps.Infer(network):
                    hat = self._inferred(sample, network, hat, chain)
                case steps.Synthesise():
                    files |= {"y_hat": hat, "wav": self.synthesised(sample.name, sample.model, hat, chain)}
            makes_b = isinstance(step, steps.Decode | steps.Infer) and config.networks[step.network].row.target == "b"
            if makes_b or isinstance(step, steps.RestoreGain):
                files |= {"b": sample.b, "b_hat": hat}
        return files

    def stated(self, chain: RatedChain) -> list[dict[str, Any]]:
        """The steps of a chain as `chains.coder` takes them, each with the files and the settings that it uses."""
        config, stated = self.config, []
        names = chain.networks, chain.quantiser, max(chain.stages)
        for step in steps.steps_of(*names, config.networks, config.quantisers):
            used: dict[str, Any] = {}
            match step:
                case steps.Encode(network) | steps.Decode(network) | steps.Infer(network):
                    used = {"weights": self.network(network).file("weights.safetensors")}
                case steps.Quantise(quantiser, stages):
                    settings, inputs = self._search(quantiser, stages, chain)
                    used = settings | inputs
                case steps.Synthesise():
                    used = self._given(vocoder.synth, chain)
            stated.append({"step": steps.name_of(step), **used})
        return stated

    def _shape(self, name: str, features: str) -> str:
        """The shape of b of features."""
        return self.add(quantisers.remove_gain, name, features=features).file("shape.f32")

    def _quantised(self, name: str, vectors: str, by: Any) -> str:
        """Vectors quantised by the quantiser of a chain, or of a network that is trained on."""
        settings, inputs = self._search(by.quantiser, by.stages, by)
        node = self.add(quantisers.vq_search, f"{name}_{by.quantiser}", settings, latents=vectors, **inputs)
        return node.file("l_hat.f32")

    def _search(self, name: str, stages: int | None, by: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Settings and inputs of a search in the first stages of a quantiser, as a chain or a network asks for it."""
        quantiser = self.config.quantisers[name]
        settings, inputs = self._prediction(quantiser)
        settings |= {"k": self._width(quantiser), "send_every": self.config.send_every(quantiser)}
        settings |= {"reset_every": getattr(quantiser, "reset_every", None)} | self._given(quantisers.vq_search, by)
        return settings, {"codebooks": self.codebooks(name, stages), **inputs}

    def _restored(self, name: str, shapes: str, features: str) -> str:
        """b_hat of shapes, with the gain of features."""
        return self.add(quantisers.restore_gain, name, shapes=shapes, features=features).file("b_hat.f32")

    def _decoded(self, name: str, network: str, latents: str, features: str, y: str | None) -> str:
        """Features of latents by a network, with the energy of y where it makes y_hat."""
        trained = self.network(network)
        inputs = {"weights": trained.file("weights.safetensors"), "latents": latents, "features": features}
        if self.config.networks[network].row.target == "y" and y:
            inputs["energy"] = y
        return self.add(networks.decode, f"{name}_{trained.name}", **inputs).file("hat.f32")

    def _inferred(self, sample: Sample, network: str, hat: str, chain: Chain) -> str:
        """Features straight through a network, with the noise of the chain where it has a bottleneck."""
        trained, block = self.network(network), self.config.networks[network]
        inputs = {"weights": trained.file("weights.safetensors"), "features": hat}
        if block.row.target == "y":
            inputs["energy"] = sample.y
        noisy = chain.noise_var and block.d
        settings = self._given(networks.infer, chain) if noisy else {}
        return self.add(networks.infer, f"{sample.name}_{trained.name}", settings, **inputs).file("hat.f32")

    def synthesised(self, name: str, model: str, y_hat: str, chain: Chain | None = None) -> str:
        """Speech of y_hat."""
        settings = self._given(vocoder.synth, chain) if chain else {}
        return self.add(vocoder.synth, name, settings, model=model, y_hat=y_hat).file("speech.wav")

    def _given(self, function: Callable, block: Any) -> dict[str, Any]:
        """Those settings of a stage that a block of the configuration, such as a chain, has."""
        names = stage_of(function).settings
        return {name: getattr(block, name) for name in names if name in type(block).model_fields}

    # speech to compare with, and measures

    def original(self, sample: Sample) -> str:
        """Speech of a model's own amplitudes and phases."""
        return self.add(vocoder.resynth, sample.name, model=sample.model).file("speech.wav")

    def codec2(self, sample: Sample) -> Node:
        """A sample coded by Codec 2 in all of its modes."""
        return self.add(vocoder.anchor, sample.name, {"modes": [*MODES]}, speech=sample.speech)

    def references(self, sample: Sample) -> dict[str, str]:
        """Files that a sample's outputs are measured against, and the true features behind them."""
        return {
            **{"source": sample.speech, "model": sample.model, "features": sample.b, "y": sample.y},
            "original": self.original(sample),
            "ideal_y": self.synthesised(f"{sample.name}_ideal_y", sample.model, sample.y),
        }

    def output(self, sample: Sample, index: int, output: Output) -> dict:
        """One output of one sample: its index, tag, bit rate, and the files to measure it by."""
        quantiser = self.config.quantisers[output.quantiser] if output.quantiser else None
        interval_ms = quantiser and quantiser.interval_ms
        if output.process == "original":
            row = _row(index, output.tag, {"wav": self.original(sample)})
        elif output.process == "codec2":
            assert output.mode  # an output of process codec2 is refused without a mode
            wav = self.codec2(sample).file(f"{output.mode}.wav")
            row = _row(index, output.tag, {"wav": wav}, *MODES[output.mode])
        else:
            files = self.coded(sample, output)
            bits = frame_ms = None
            if quantiser:
                bits = sum(one.size.bit_length() - 1 for one in quantiser.stages[: output.stages])
                frame_ms = self.config.send_every(quantiser) * self.config.vector_ms(quantiser)
            row = _row(index, output.tag, files, bits, frame_ms)
        return row | {"interval_ms": interval_ms}

    def anchors(self, sample: Sample) -> Node:
        """Measures of the anchors: of the vocoder's references, and of every mode of Codec 2."""
        references, coded = self.references(sample), self.codec2(sample)
        rows = [_row(None, name, {"wav": references[name]}) for name in ("original", "ideal_y")]
        rows += [_row(None, mode, {"wav": coded.file(f"{mode}.wav")}, *MODES[mode]) for mode in MODES]
        return self.measured(f"{sample.name}_anchors", sample, rows)

    def measured(self, name: str, sample: Sample, rows: list[dict], latents: str | None = None) -> Node:
        """Measures of outputs of one sample.

        The settings record every node behind the outputs, and the `latents` that the experiment's page starts from.
        """
        references = self.references(sample)
        files = sorted({*references.values(), *(path for row in rows for path in row["files"].values())})
        entry = self.config.samples.get(sample.name)
        settings = {
            **{"sample": sample.name, "sex": entry and entry.sex, "references": references, "rows": rows},
            # The provenance.json of a network or codebook records the nodes behind it, once for all samples.
            "stages": recorded(self.behind(files, without=WITH_SIDECAR)),
            "pesq": PESQ,
            "latents": latents,
            "entry": entry and entry.model_dump(mode="json"),
        }
        counted = {name: value for name, value in settings.items() if name != "stages"}  # files have keys
        return self.add(measures.measure, name, settings, counted, files=files)

    def rated(self, name: str, settings: dict[str, Any], **inputs: Sequence[str]) -> Node:
        """Rate and distortion of a chain, for a study that compares chains."""
        return self.add(studies.rate, name, settings, **inputs)

    def behind(self, files: Sequence[str], without: Collection[str] = ()) -> dict[str, Node]:
        """Every node that the files come from, by folder, sorted.

        Nodes of the kinds `without`, and the nodes behind them alone, are left out, as are files that no node makes.
        """
        found: dict[str, Node] = {}
        pending = list(files)
        while pending:
            folder = pending.pop().rpartition("/")[0]
            node = self.nodes.get(folder)
            if node and folder not in found and node.kind not in without:
                found[folder] = node
                pending += [path for paths in node.inputs.values() for path in paths]
        return dict(sorted(found.items()))


def _row(
    index: int | None,
    tag: str,
    files: dict[str, str],
    bits: int | None = None,
    frame_ms: int | None = None,
    delay: int = 0,
) -> dict:
    """The row that `measure` takes for an output; `delay` is in samples, on top of the vocoder's own delay."""
    return {"index": index, "tag": tag, "bits_per_frame": bits, "frame_ms": frame_ms, "delay": delay, "files": files}
