"""Plain words about an experiment, made from its settings and measures alone: what was done, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mlquant.core.intervals import sample_interval
from mlquant.experiments.told import counted
from mlquant.measures.columns import MEASURES
from mlquant.networks.rows import row_of

LIKE = 0.2
"""PESQ that two outputs may differ by, with all of the interval of their difference, and still be called alike."""
_LATENTS = "latents (the numbers at its narrowest)"
_B = "b (20 mel-spaced levels in dB every 10 ms)"
_Y = "y (79 levels in dB, one every 50 Hz, every 10 ms)"


class Words:
    """Words about the outputs of one experiment.

    `outputs` are those of its entry, `networks` the folders and settings of its networks by name, `means`, `measures`
    and `anchors` the rows of its tables. `stages` are the runs of commands by folder, and `files` those of one sample,
    by index and tag. `in_set` is what `in_set.gather` returns of its test set.
    """

    def __init__(
        self,
        outputs: Sequence[dict],
        networks: Mapping[str, tuple[str, dict]],
        means: Sequence[dict],
        measures: Sequence[dict],
        anchors: Sequence[dict],
        stages: Mapping[str, dict],
        files: Mapping[tuple, Mapping[str, str]],
        in_set: Mapping | None = None,
    ):
        self._outputs, self._networks = outputs, networks
        self._measures, self._anchors = measures, anchors
        self._stages, self._files, self._in_set = stages, files, in_set
        self._means = {(row["index"], row["tag"]): row for row in means if row["group"] == "all"}

    def outputs_in_words(self) -> list[dict]:
        """Return for each output its short name, what it is, and the interval of 95 % of its mean PESQ, or None.

        `intervals` has those of all measures that the page draws.
        """
        shorts = [self._short(output) for output in self._outputs]
        whats = [self._what(output) for output in self._outputs]
        found = []
        for output, short, what in zip(self._outputs, shorts, whats, strict=True):
            alike = [other for other, text in zip(self._outputs, whats, strict=True) if text == what]
            if len({tuple(other.get("networks") or ()) for other in alike}) > 1:
                what += f" ({', '.join(output['networks'])})"
            if len({other.get("mbest") for other in alike}) > 1:
                what += f", search with {_counted(output['mbest'], 'survivor')}"
            if shorts.count(short) > 1:
                short += f", {output['tag']}"
            intervals = {
                one.name: sample_interval(np.array([*self._by_sample(output, one.name).values()]))
                for one in MEASURES
                if one.charted
            }
            found.append({"short": short, "what": what, "pesq": intervals["pesq"], "intervals": intervals})
        return found

    def _short(self, output: dict) -> str:
        if output.get("process") == "codec2":
            return f"Codec 2 {output.get('mode')}"
        if output.get("process") == "original":
            return "sinusoidal model"
        if output.get("process") == "codec":
            return str(output.get("codec"))
        boxes = [network for network in self._of(output) if network.get("d")]
        text = " + ".join(f"d = {network['d']}" for network in boxes) or "b to y"
        if output.get("quantiser"):
            text = self._bits(output) or "quantised"
        elif output.get("noise_var"):
            text += f", noise {output['noise_var']:g}"
        elif boxes:
            text += ", not quantised"
        return text + (", postfilter" if output.get("postfilter", 1) != 1 else "")

    def _what(self, output: dict) -> str:
        if output.get("process") == "codec2":
            mode = str(output.get("mode"))
            return f"Codec 2 at {mode} bit/s" if mode.isdigit() else f"Codec 2, mode {mode}"
        if output.get("process") == "original":
            return "sinusoidal model, phases as analysed, nothing coded"
        if output.get("process") == "codec":
            return f"codec {output.get('codec')}, everything in its bit stream"
        used = self._of(output)
        boxes = [network for network in used if network.get("d")]
        source = row_of(used[0]).source if used else "b"
        stages = self._stage_count(output)
        staged = f" in {stages}" if stages else ""
        ahead = " by prediction" if self._predicts(output) else ""
        if output.get("quantiser") and not boxes:
            text = f"b less its mean, quantised{staged}{ahead}"
        elif boxes:
            text = f"{source} through {' and '.join(_box(box, '', '(d = {d})') for box in boxes)}"
            if output.get("quantiser"):
                text += f", latents quantised{staged}{ahead}"
            elif output.get("noise_var"):
                text += f", noise of variance {output['noise_var']:g} on the latents"
            else:
                text += "" if any(row_of(network).quantised for network in boxes) else ", not quantised"
        elif any(row_of(network).quantised for network in used):
            text = f"{source} through a network that quantises by itself"
        else:
            text = f"y made from {source} by a network, nothing quantised"
        factor = output.get("postfilter", 1)
        return text + (f", postfilter {factor:g}" if factor != 1 else "")

    def _of(self, output: dict) -> list[dict]:
        """Return the settings of the networks that an output went through, in order.

        They are those of the runs that made its y_hat. Two names may stand for one network, of which the folder has the
        other name; so the names in the entry are looked up only where no run is known.
        """
        by_folder = {folder: settings for folder, settings in self._networks.values()}
        found, run = [], self._run(output, "y_hat")
        while run.get("command") in ("infer", "decode"):
            inputs = run["inputs"]
            found.insert(0, by_folder.get(_folder(inputs.get("weights"))))
            run = self._stages.get(_folder(inputs.get("features")), {})
        if found and all(found):
            return found
        return [self._networks[name][1] for name in output.get("networks") or () if name in self._networks]

    def _run(self, output: dict, kind: str) -> dict:
        """Return the run that made a file of an output; empty where it is not known."""
        return self._stages.get(_folder(self._files.get((output["index"], output["tag"]), {}).get(kind)), {})

    def _stage_count(self, output: dict) -> str:
        books = self._run(output, "l_hat").get("inputs", {}).get("codebooks", [])
        number = output.get("stages") or (len(books) if isinstance(books, list) else 0)
        return _counted(number, "stage") if number else ""

    def _bits(self, output: dict, every: bool = False) -> str:
        row = self._means.get((output["index"], output["tag"]), {})
        bits, ms = row.get("bits_per_frame"), row.get("frame_ms")
        if bits is None:
            return ""
        if ms is None or (ms == 10 and not every):
            return f"{bits:g} bits"
        return f"{bits:g} bits {'every' if every else '/'} {ms:g} ms"

    def _predicts(self, output: dict) -> bool:
        search = self._run(output, "l_hat")
        return search.get("settings", {}).get("predict") is not None or bool(search.get("inputs", {}).get("predictor"))

    def _by_sample(self, output: dict, measure: str = "pesq") -> dict[str, float]:
        return {
            row["sample"]: row[measure]
            for row in self._measures
            if row["index"] == output["index"] and row["tag"] == output["tag"] and row.get(measure) is not None
        }

    # what was done

    def sentence(self, samples: int) -> str:
        """Return what was done in one sentence."""
        speech = f"The speech of {_counted(samples, 'sample')}"
        made = [output for output in self._outputs if output.get("process", "vocoder") == "vocoder"]
        modes = [str(o.get("mode")) for o in self._outputs if o.get("process") == "codec2"]
        rates = _and(f"{mode} bit/s" if mode.isdigit() else mode for mode in modes)
        codecs = _and(str(o.get("codec")) for o in self._outputs if o.get("process") == "codec")
        if not made:
            done = [f"coded by Codec 2 at {rates}"] if modes else []
            if codecs:
                done.insert(0, f"coded by {codecs}, whose bit streams hold pitch, voicing, energy and spectrum")
            if any(output.get("process") == "original" for output in self._outputs):
                done.insert(0, "made again by the sinusoidal model, with amplitudes and phases as analysed")
            return f"{speech} was {' and '.join(done)}." if done else f"{speech} is here to listen to."
        routes = self._routes(made)
        sources = dict.fromkeys(source for source, *_ in routes)
        text = f"{speech} went through the sinusoidal analysis of Codec 2, which gives {_and(map(_named, sources))}; "
        text += "; ".join(self._clause(route, outputs) for route, outputs in routes.items())
        estimate = "an estimate of y" if "y" in sources else "an estimate of y: 79 levels, one every 50 Hz"
        text += f"; the result, y_hat ({estimate}), was synthesised to speech"
        factors = sorted({o["postfilter"] for o in made if o.get("postfilter", 1) != 1})
        if factors:
            text += f", with a postfilter of {_and(f'{factor:g}' for factor in factors)}"
        return f"{text}."

    def _routes(self, outputs: Sequence[dict]) -> dict[tuple, list[dict]]:
        """Return the ways from features to y_hat, each with its outputs, without those that another one goes further.

        A way is what goes in (b or y), the networks with a bottleneck, and what is done to the latents or to b.
        """
        found: dict[tuple, list[dict]] = {}
        for output in outputs:
            used = self._of(output)
            source = row_of(used[0]).source if used else "b"
            boxes = tuple(_box(network) for network in used if network.get("d"))
            inside = any(row_of(network).quantised for network in used)
            step = "quantised" if output.get("quantiser") else "noise" if output.get("noise_var") else ""
            found.setdefault((source, boxes, step, inside), []).append(output)
        whole = [route for route in found if not any(_goes_further(other, route) for other in found)]
        return {route: found[route] for route in whole}

    def _clause(self, route: tuple, outputs: Sequence[dict]) -> str:
        source, boxes, step, inside = route
        text = f"{source} went through {' and then '.join(boxes)}" if boxes else ""
        if step == "quantised":
            text += f", and its {_LATENTS} were" if boxes else "b, less its mean (its gain, which is passed on), was"
            text += f" quantised{self._amounts(outputs)}"
            text += ", by prediction from the vector before" if any(map(self._predicts, outputs)) else ""
        elif step == "noise":
            variances = _and(f"{v:g}" for v in sorted({o["noise_var"] for o in outputs}))
            text += f", with noise of variance {variances} on its {_LATENTS} in place of a quantiser"
        elif inside and not boxes:
            text = f"a network that quantises by itself took {source}"
        elif not boxes:
            text = f"{source} went to a network as it was"
        return text

    def _amounts(self, outputs: Sequence[dict]) -> str:
        """Return bits and stages of quantised outputs: with 24 bits (2 stages) and 12 bits (1 stage) every 10 ms."""
        amounts: dict[float | None, dict[str, None]] = {}
        for output in outputs:
            row = self._means.get((output["index"], output["tag"]), {})
            if row.get("bits_per_frame") is not None:
                stages = f" ({count})" if (count := self._stage_count(output)) else ""
                amounts.setdefault(row.get("frame_ms"), {})[f"{row['bits_per_frame']:g} bits{stages}"] = None
        texts = [f"{_and(bits)}{f' every {ms:g} ms' if ms else ''}" for ms, bits in amounts.items()]
        return f" with {_and(texts)}" if texts else ""

    # what came of it

    def finding(self) -> str:
        """Return one line on PESQ against bits; "" where nothing quantised has a PESQ.

        For each bit rate it takes the output with the highest mean. A mode of Codec 2 is said to be alike only if the
        interval of the difference, over the samples that both have, is no wider than LIKE to either side. Where there
        is a test set, the means and the differences are those of it.
        """
        if self._in_set and (told := self._finding_in_set(self._in_set)):
            return told
        modes = self._modes()
        parts = []
        for bits, output, value in self._best({name: row.get("pesq") for name, row in self._means.items()}):
            values = self._by_sample(output)
            near = min(modes, key=lambda mode: abs(np.mean([*modes[mode].values()]) - value), default=None)
            if near is None:
                parts.append(f"{bits}: PESQ {value:.2f}")
                continue
            theirs, name = modes[near], f"Codec 2 at {near} bit/s" if near.isdigit() else f"Codec 2 {near}"
            common = [sample for sample in values if sample in theirs]
            other = float(np.mean([*theirs.values()]))
            difference = sample_interval(np.array([values[sample] - theirs[sample] for sample in common]))
            parts.append(f"{bits} {_compared(difference)} {name} (PESQ {value:.2f} and {other:.2f})")
        return f"{'; '.join(parts)}." if parts else ""

    def _best(self, means: Mapping[tuple, float | None]) -> list[tuple[str, dict, float]]:
        """Return for each bit rate the output with the highest mean, and that mean; three at most, the best first."""
        best: dict[str, tuple[dict, float]] = {}
        for output in self._outputs:
            bits, value = self._bits(output, every=True), means.get((output["index"], output["tag"]))
            quantised = output.get("quantiser") or output.get("codec")
            if quantised and bits and value is not None and value > best.get(bits, (output, 0))[1]:
                best[bits] = (output, value)
        found = [(bits, output, value) for bits, (output, value) in best.items()]
        return sorted(found, key=lambda one: -one[2])[:3]

    def _finding_in_set(self, in_set: Mapping) -> str:
        """Return the same of the test set: each rate beside the nearest mode of Codec 2 among the outputs.

        Without one it is beside the next rate. Differences are those that are paired by utterance.
        """
        means = {
            (row["index"], row["tag"]): row["mean"]
            for row in in_set["means"]
            if row["group"] == "all" and row["measure"] == "pesq"
        }
        best = self._best(means)
        modes = [output for output in self._outputs if output.get("process") == "codec2" and _key(output) in means]
        parts = []
        for place, (bits, output, value) in enumerate(best):
            if modes:
                other = min(modes, key=lambda mode: abs(means[_key(mode)] - value))
                name = self._what(other)
            elif place + 1 < len(best):
                name, other, _ = best[place + 1]
            else:
                parts += [] if place else [f"{bits}: PESQ {value:.2f}"]
                break
            told, more = _beyond(_difference(in_set["pairs"], _key(output), _key(other)))
            parts.append(f"{bits} {told} {name} ({more}PESQ {value:.2f} and {means[_key(other)]:.2f})")
        return f"On the test set {in_set['name']}, {counted(in_set)}: {'; '.join(parts)}." if parts else ""

    def _modes(self) -> dict[str, dict[str, float]]:
        """Return PESQ by sample, for each mode of Codec 2 among the anchors."""
        modes: dict[str, dict[str, float]] = {}
        for row in self._anchors:
            if row.get("pesq") is not None and row.get("bit_per_s") is not None:
                modes.setdefault(row["tag"], {})[row["sample"]] = row["pesq"]
        return modes


def _key(output: Mapping) -> tuple[int, str]:
    return output["index"], output["tag"]


def _difference(pairs: Iterable[Mapping], a: tuple, b: tuple) -> tuple[float, float | None, float | None]:
    """Return PESQ of output a less that of b, with the ends of its interval, or None for these."""
    for row in pairs:
        if row["group"] == "all" and row["measure"] == "pesq":
            one, other = (row["index"], row["tag"]), (row["index_b"], row["tag_b"])
            if (one, other) == (b, a):
                return row["difference"], row["low"], row["high"]
            if (one, other) == (a, b):
                return -row["difference"], *(None if row[end] is None else -row[end] for end in ("high", "low"))
    return float("nan"), None, None


def _beyond(difference: tuple[float, float | None, float | None]) -> tuple[str, str]:
    """Return what a difference of the test set says, and its size where it is beyond chance."""
    mean, low, high = difference
    if low is None or high is None:
        return "beside", ""
    if low > 0 or high < 0:
        ends = sorted((abs(low), abs(high)))
        return (
            f"measure {'better' if low > 0 else 'worse'} than",
            f"by {abs(mean):.2f}, {ends[0]:.2f} to {ends[1]:.2f}; ",
        )
    return ("measure like" if max(-low, high) <= LIKE else "do not differ beyond chance from"), ""


def _compared(difference: tuple[float, float] | None) -> str:
    if difference is None:
        return "beside"
    low, high = difference
    if max(-low, high) <= LIKE:
        return "measure like"
    if low > 0 or high < 0:
        return f"measure {'better' if low > 0 else 'worse'} than"
    return "lie nearest to"


def _folder(path: str | Sequence[str] | None) -> str:
    """Return the folder of a file, or of the only one in a list; "" for anything else."""
    if isinstance(path, str):
        return str(Path(path).parent)
    return str(Path(path[0]).parent) if path and len(path) == 1 else ""


def _named(source: str) -> str:
    return _B if source == "b" else _Y


def _box(network: dict, article: str = "an ", width: str = "with d = {d}") -> str:
    """Return a network with a bottleneck in words."""
    text = f"{article}autoencoder {width.format(d=network['d'])}"
    if network.get("ncat", 1) > 1:
        text += f" for {network['ncat']} frames at a time"
    if network.get("symbols"):
        text += f", whose latents are {network['d'] // 2} complex symbols"
    own = {"fsq": "finite scalars", "vq": "its own codebook"}.get(row_of(network).quantised)
    return text + (f", quantised by {own}" if own else "")


def _goes_further(other: tuple, route: tuple) -> bool:
    """Whether a way does all that another one does, and more."""
    source, boxes, step, inside = route
    if other == route or other[0] != source or (inside and not other[3]):
        return False
    return (other[1] == boxes and not step and bool(other[2])) or (not boxes and not step and bool(other[1]))


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _and(texts: Iterable[str]) -> str:
    *rest, last = ["", *texts]
    return f"{', '.join(rest[1:])} and {last}" if len(rest) > 1 else last
