"""What the report shows of an experiment: tables, and the facts that its sentences are filled with.

This file holds the same as that of a study does (see `mlquant.studies`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from mlquant.core.disk import read_json, require
from mlquant.core.provenance import block_at
from mlquant.core.tables import formatted, laid_out, read_rows
from mlquant.measures.columns import COLUMNS, OF_SPEECH

PUBLISHED = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))
"""The original's figures, and where each is from."""

TITLE = ""  # each entry has its own
SECTIONS = {  # of the experiments that the original published, in the order of its paper
    "240104": ("Dimension reduction", 10),
    "240118": ("Experiment 1", 40),
    "240118_seed": ("Experiment 1", 41),
    "240125A": ("Autoencoders 2 and 3", 50),
    "240121A": ("Autoencoders 2 and 3", 51),
    "240121B": ("Autoencoders 2 and 3", 52),
    "240125": ("Autoencoders 2 and 3", 53),
}
SECTION, PLACE = "Other experiments", 90


def record(folder: Path) -> dict:
    """Return how the folder of an experiment was made, from its provenance.json and its config.yaml, which is JSON.

    The networks and quantisers have the settings that were used, whatever the configuration asked for.
    """
    known, config = read_json(folder / "provenance.json"), read_json(folder / "config.yaml")
    require(known, f"{folder}/provenance.json", "experiment", "key")
    require(config, f"{folder}/config.yaml", "networks", "quantisers")
    made = known["experiment"]
    for place, (_, used) in made.get("lowered", {}).items():
        block_at(config, place)[place.rpartition(".")[2]] = used
    about = {"kind": "experiment", "name": made["name"], "key": known["key"], "settings": made}
    return about | {name: config[name] for name in ("networks", "quantisers")} | {"lowered": made.get("lowered", {})}


def report(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    """Return facts and tables of an experiment, with the original's figures next to ours where they are known."""
    names = ("bits_per_frame", "frame_ms", "bit_per_s", "pesq", "stoi", "estoi", "sd_dB2")
    means = read_rows(folder / "means.csv", "group", "index", "tag", "samples", *names)
    measures = read_rows(folder / "measures.csv", "sample", "index", "tag", "sd_dB2", "sd_voiced_dB2")
    provenance = read_json(folder / "provenance.json")
    require(provenance, f"{folder}/provenance.json", "experiment", "left_out")
    known = PUBLISHED["experiments"].get(PUBLISHED["repeated"].get(entry["name"], entry["name"]), {})
    outputs = entry["settings"]["outputs"]
    means = means.drop_duplicates(["group", "index", "tag"]).set_index(["group", "index", "tag"])

    def column(measure: str, group: str = "all") -> list:
        found = means[measure] if measure in means else pd.Series(dtype=float)
        return [found.get((group, output["index"], output["tag"])) for output in outputs]

    pesq, published_pesq = column("pesq"), column("published_pesq")
    has_wavs = any(map(formatted, published_pesq))
    for i, output in enumerate(outputs):
        if not formatted(published_pesq[i]):
            published_pesq[i] = known.get("pesq", {}).get(str(output["index"]))
    index = ("index", [output["index"] for output in outputs], "d")
    legend = [
        index,
        ("tag", [output["tag"] for output in outputs], "s"),
        ("processing", [output["processing"] for output in outputs], "s"),
        ("what it shows", [output["shows"] for output in outputs], "s"),
        ("bits", column("bits_per_frame"), "g"),
        ("in ms", column("frame_ms"), "g"),
        ("bit/s", column("bit_per_s"), "g"),
        ("published verdict", [known.get("verdict", {}).get(str(output["index"])) for output in outputs], "s"),
    ]
    source = known.get("source", "")
    if has_wavs:
        source = f"the same measures of the wavs in {entry['settings'].get('published')}"
    overall = [index]
    for one in OF_SPEECH:
        published = published_pesq if one.name == "pesq" else column(f"published_{one.name}")
        overall.append((one.heading, column(one.name), one.format))
        overall.append((f"published {one.heading}", published, one.format))
    overall.append((COLUMNS["sd_dB2"].heading, column("sd_dB2"), COLUMNS["sd_dB2"].format))
    by_sex = [index]
    for one in (COLUMNS["pesq"], COLUMNS["sd_dB2"]):
        for group in ("male", "female"):
            by_sex.append((f"{one.heading} {group}", column(one.name, group), one.format))
            by_sex.append((f"published {one.heading} {group}", column(f"published_{one.name}", group), one.format))
    facts = _facts(outputs, pesq, published_pesq, column) | {
        "left_out": provenance["left_out"],
        "key": provenance.get("key"),
        "revision": provenance.get("versions", {}).get("revision"),
        "samples": [*dict.fromkeys(measures["sample"])],
        "published_samples": known.get("samples"),
    }
    tables = [
        laid_out("What each index is", *legend, source=known.get("verdict_source", "")),
        laid_out("Means over all samples", *overall, source=source),
        laid_out("Means by sex", *by_sex, source=source),
    ]
    for place, samples in known.get("sd_dB2", {}).items():
        rows = measures[measures["index"] == int(place)]
        sd = [
            ("sample", rows["sample"], "s"),
            ("all frames", rows["sd_dB2"], ".2f"),
            ("voiced frames", rows["sd_voiced_dB2"], ".2f"),
            ("published", [samples.get(name) for name in rows["sample"]], ".2f"),
        ]
        tables.append(laid_out(f"SD (dB²) of index {place} by sample", *sd, source=known["sd_source"]))
    return facts, tables


def _facts(outputs: list[dict], pesq: list, published: list, column: Callable[..., list]) -> dict:
    """Return facts on the outputs: the best, the worst, the cost of each step, the farthest from its published one."""
    rows = [
        {**output, "pesq": value, "published": other, "male": male, "female": female}
        for output, value, other, male, female in zip(
            outputs, pesq, published, column("pesq", "male"), column("pesq", "female"), strict=True
        )
    ]
    measured = [row for row in rows if formatted(row["pesq"])]
    made_here = [row for row in measured if row["process"] == "vocoder"]
    both = [row for row in measured if formatted(row["published"])]
    steps = []
    for row in made_here[1:]:
        first = made_here[0]
        step = {"index": row["index"], "from": first["index"], "all": row["pesq"] - first["pesq"]}
        for group in ("male", "female"):
            step[group] = row[group] - first[group] if formatted(row[group]) else None
        steps.append(step)
    return {
        "highest": max(made_here, key=lambda row: row["pesq"], default=None),
        "lowest": min(made_here, key=lambda row: row["pesq"], default=None),
        "anchors": [row for row in measured if row["process"] == "codec2"],
        "steps": steps,
        "farthest": max(both, key=lambda row: abs(row["pesq"] - row["published"]), default=None),
    }


WORDS = {
    "question": """
{% set asked = {
  "240104": "What is lost when several frames of b go through one bottleneck together?",
  "240118": "What does a narrow bottleneck for b cost, and what does quantising its latents add?",
  "240118_seed": "What comes out of Experiment 1 with networks trained as the original trained them?",
  "240121A": "Can one network take b through a bottleneck straight to y_hat, and how much noise do its latents stand?",
  "240121B": "What does longer training bring to the network of 240121A?",
  "240125": "What does quantising the latents of the one network cost?",
  "240125A": "Does starting from y instead of b bring anything?",
} %}
{{ asked.get(part.name) or part.settings.title or "What does each step cost?" }}
""",
    "setup": """
<p>Samples: {{ listed(part.facts.samples) }}.
{%- for name in part.quantised %} Quantiser: {{ quantiser(part, name) }}.{% endfor %}
{%- for output in part.settings.outputs if output.quantiser %}
 Index {{ output.index }} takes {{ output.stages or (part.quantised[output.quantiser].stages | length) }} of its stages
with {{ output.mbest }} survivor{{ "s" if output.mbest > 1 }} each.
{%- endfor %}
{%- for output in part.settings.outputs if output.noise_var %}
 Index {{ output.index }} has noise of variance {{ output.noise_var | num("g") }} on the latents.
{%- endfor %}</p>
{% for name in part.facts.left_out %}
<p class="failed">The optional sample <code>{{ name }}</code> could not be obtained and is left out.</p>
{% endfor %}
""",
    "findings": """
{% set facts = part.facts %}
{% if facts.highest %}
<p>Mean PESQ of what the vocoder makes is highest at index {{ facts.highest.index }},
{{ facts.highest.pesq | num(".2f") }}
{%- if facts.highest.index != facts.lowest.index %}
, and lowest at index {{ facts.lowest.index }}, {{ facts.lowest.pesq | num(".2f") }}
{%- endif %}
{%- for row in facts.anchors %}
; {{ row.processing or "Codec 2" }} has {{ row.pesq | num(".2f") }}
{%- endfor %}.
{% if facts.farthest %}
Farthest from its published figure is index {{ facts.farthest.index }}: {{ facts.farthest.pesq | num(".2f") }} against
{{ facts.farthest.published | num(".2f") }}.
{%- endif %}</p>
{% if facts.steps %}
<ul>
{% for step in facts.steps %}
<li>Index {{ step.index }} against {{ step.from }}: {{ step.all | num("+.2f") }} PESQ
{%- if step.male is not none and step.female is not none %}
 ({{ step.male | num("+.2f") }} for male, {{ step.female | num("+.2f") }} for female speech)
{%- endif %}.</li>
{% endfor %}
</ul>
{% endif %}
{% else %}
<p>PESQ was not measured.</p>
{% endif %}
{% if facts.published_samples and facts.published_samples != facts.samples %}
<p>The published means are over {{ listed(facts.published_samples) }}.</p>
{% endif %}
<p><a href="{{ part.link }}/index.html">Listen and compare</a></p>
""",
    "caption": "Loss and SD in training",
}
