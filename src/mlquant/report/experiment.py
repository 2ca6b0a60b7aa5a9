"""What the report shows of an experiment: tables, and the facts that its sentences are filled with.

This file holds the same as that of a study does (see `mlquant.studies`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mlquant.core.disk import read_json, require
from mlquant.core.provenance import block_at
from mlquant.core.tables import formatted, laid_out, read_rows, read_table
from mlquant.experiments.heard import shown
from mlquant.experiments.told import OVER_SPEAKERS, counted
from mlquant.measures.columns import COLUMNS, MEASURES, OF_SPEECH
from mlquant.networks.types import HELD_OUT_BELOW
from mlquant.report.published import compared, known_of

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
    """Return facts and tables of an experiment.

    Of an experiment of the original's, the published figures are among the facts, set beside ours where they compare
    (see `published.compared`); of another that has published wavs, they stand in the tables of means.
    """
    names = ("bits_per_frame", "frame_ms", "bit_per_s", "pesq", "stoi", "estoi", "sd_dB2")
    means = read_rows(folder / "means.csv", "group", "index", "tag", "samples", *names)
    measures = read_rows(folder / "measures.csv", "sample", "sex", "index", "tag", "sd_dB2", "sd_voiced_dB2")
    provenance = read_json(folder / "provenance.json")
    require(provenance, f"{folder}/provenance.json", "experiment", "left_out")
    known, settings = known_of(entry["name"]), {"name": entry["name"], **entry["settings"]}
    outputs = settings["outputs"]
    means = means.drop_duplicates(["group", "index", "tag"]).set_index(["group", "index", "tag"])

    def column(measure: str, group: str = "all") -> list:
        found = means.get(measure, {})
        return [found.get((group, output["index"], output["tag"])) for output in outputs]

    beside = compared(settings, measures) if entry["name"] in SECTIONS else {}
    index = ("index", [output["index"] for output in outputs], "d")
    legend = laid_out(
        "What each index is",
        index,
        ("tag", [output["tag"] for output in outputs], "s"),
        ("processing", [output["processing"] for output in outputs], "s"),
        ("what it shows", [output["shows"] for output in outputs], "s"),
        ("bits", column("bits_per_frame"), "g"),
        ("in ms", column("frame_ms"), "g"),
        ("bit/s", column("bit_per_s"), "g"),
        ("published verdict", [known.get("verdict", {}).get(str(output["index"])) for output in outputs], "s"),
        source=known.get("verdict_source", ""),
    )

    def with_published(measure: str, group: str = "all") -> list:
        """Return the column of ours, and that of the published means unless they stand beside ours elsewhere."""
        one, of = COLUMNS[measure], "" if group == "all" else f" {group}"
        made = [(f"{one.heading}{of}", column(measure, group), one.format)]
        if not beside:
            theirs = column(f"published_{measure}", group)
            if measure == "pesq" and group == "all" and not any(map(formatted, theirs)):
                theirs = [known.get("pesq", {}).get(str(output["index"])) for output in outputs]
            made.append((f"published {one.heading}{of}", theirs, one.format))
        return made

    source = known.get("source") or f"the same measures of the wavs in {settings.get('published')}"
    overall = [one for measure in OF_SPEECH for one in with_published(measure.name)]
    overall += with_published("sd_dB2")
    by_sex = [one for name in ("pesq", "sd_dB2") for sex in ("male", "female") for one in with_published(name, sex)]
    test_set = provenance.get("test_set")
    in_set, set_tables = _of_set(folder, test_set, outputs) if test_set else ({}, [])
    facts = (in_set or _facts(outputs, column("pesq"), column)) | {
        "test_set": test_set and in_set and f"the test set {test_set['name']}, {counted(test_set)}",
        "about_sets": f"{OVER_SPEAKERS} These figures count for more than those of the samples, which are few."
        if in_set
        else "",
        "legend": legend,
        "beside": beside,
        "left_out": provenance["left_out"],
        "key": provenance.get("key"),
        "revision": provenance.get("versions", {}).get("revision"),
        "samples": [*dict.fromkeys(measures["sample"])],
    }
    tables = [
        *set_tables,
        laid_out("Means over all samples", index, *overall, source=source),
        laid_out("Means by sex", index, *by_sex, source=source),
    ]
    for path in sorted(folder.glob("*_ratings.csv")):
        found = shown(path, f"{entry['name']}.{provenance.get('key')}")
        columns = zip(found["columns"], zip(*found["rows"], strict=True), strict=True)
        tables.append(laid_out(found["title"], *((head, values, "s") for head, values in columns)))
    return facts, tables


def _of_set(folder: Path, test_set: dict, outputs: list[dict]) -> tuple[dict, list[dict]]:
    """Return facts as `_facts` does, by the test set, and its tables; no facts where PESQ was not measured on it."""
    means = read_rows(folder / "set_means.csv", "group", "index", "tag", "measure", "mean", "low", "high")
    pairs = read_table(folder / "set_pairs.csv", "group", "index", "tag", "index_b", "tag_b", "measure", "difference")
    key = ["group", "measure", "index", "tag"]
    found = means.set_index(key).to_dict("index")
    steps = {
        (row["group"], row["measure"], (row["index"], row["tag"]), (row["index_b"], row["tag_b"])): row
        for row in pairs.to_dict("records")
    }
    names = [(output["index"], output["tag"]) for output in outputs]
    measures = [one for one in MEASURES if one.compared and (means["measure"] == one.name).any()]
    measures.sort(key=lambda one: not one.of_speech)

    def value(group: str, measure: str, name: tuple) -> float | None:
        return found.get((group, measure, *name), {}).get("mean")

    def pesq(group: str = "all") -> list:
        return [value(group, "pesq", name) for name in names]

    facts = _facts(outputs, pesq(), lambda _, group: pesq(group)) if any(map(formatted, pesq())) else {}
    for step in facts.get("steps", ()):
        a, b = (next(name for name in names if name[0] == step[end]) for end in ("from", "index"))
        row = steps.get(("all", "pesq", a, b), {})
        step |= {"all": row.get("difference", step["all"]), "interval": _interval(row, "+.2f"), "said": _beyond(row)}
        for group in ("male", "female"):
            step[group] = steps.get((group, "pesq", a, b), {}).get("difference")
    index = ("index", [output["index"] for output in outputs], "d")
    columns = []
    for one in measures:
        rows = [found.get(("all", one.name, *name), {}) for name in names]
        columns.append((one.heading, [row.get("mean") for row in rows], one.format))
        columns.append(("95 % interval", [_interval(row, one.format) for row in rows], "s"))
    by_sex = [
        (f"{one.heading} {group}", [value(group, one.name, name) for name in names], one.format)
        for one in measures[:1]
        for group in ("male", "female")
    ]
    where = f"the test set {test_set['name']}, {counted(test_set)}"
    tables = [laid_out(f"Means over {where}", index, *columns, *by_sex)]
    for one in measures[:1]:
        of_all = [row for (group, measure, *_), row in steps.items() if (group, measure) == ("all", one.name)]
        spec, by_group = f"+.{one.digits + 1}f", []
        for group in ("all", "male", "female"):
            rows = [
                steps.get((group, one.name, (row["index"], row["tag"]), (row["index_b"], row["tag_b"])), {})
                for row in of_all
            ]
            by_group += [
                (group if group != "all" else "difference", [row.get("difference") for row in rows], spec),
                ("95 % interval", [_interval(row, spec) for row in rows], "s"),
                (f"{group} speakers: the second is", [_beyond(row, one.better) for row in rows], "s"),
            ]
        first, second = ([row[end] for row in of_all] for end in ("index", "index_b"))
        caption = f"{one.heading}: differences on {where}, paired by utterance"
        tables.append(laid_out(caption, ("first", first, "d"), ("second", second, "d"), *by_group))
    return facts, tables


def _interval(row: dict, spec: str) -> str:
    ends = [formatted(row.get(end), spec) for end in ("low", "high")]
    return " to ".join(ends) if all(ends) else ""


def _beyond(row: dict, better: str | None = "higher") -> str:
    """Return what a paired difference says of the second output, in words."""
    if not _interval(row, ".2f"):
        return ""
    if row["low"] <= 0 <= row["high"]:
        return "not beyond chance"
    return f"{'better' if (row['low'] > 0) == (better == 'higher') else 'worse'}, beyond chance"


def _facts(outputs: list[dict], pesq: list, column: Callable[..., list]) -> dict:
    """Return facts on the outputs: the best, the worst, and the cost of each step."""
    rows = [
        {**output, "pesq": value, "male": male, "female": female}
        for output, value, male, female in zip(
            outputs, pesq, column("pesq", "male"), column("pesq", "female"), strict=True
        )
    ]
    measured = [row for row in rows if formatted(row["pesq"])]
    made_here = [row for row in measured if row["process"] == "vocoder"]
    steps = []
    for row in made_here[1:]:
        first = made_here[0]
        step = {"index": row["index"], "from": first["index"], "all": row["pesq"] - first["pesq"], "said": ""}
        for group in ("male", "female"):
            step[group] = row[group] - first[group] if formatted(row[group]) else None
        steps.append(step)
    return {
        "highest": max(made_here, key=lambda row: row["pesq"], default=None),
        "lowest": min(made_here, key=lambda row: row["pesq"], default=None),
        "anchors": [row for row in measured if row["process"] == "codec2"],
        "steps": steps,
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
{{ table(part.facts.legend) }}
""",
    "findings": """
{% set facts = part.facts %}
{% if facts.highest %}
<p>{% if facts.test_set %}On {{ facts.test_set }}, mean{% else %}Mean{% endif %} PESQ of what the vocoder makes is
highest at index {{ facts.highest.index }},
{{ facts.highest.pesq | num(".2f") }}
{%- if facts.highest.index != facts.lowest.index %}
, and lowest at index {{ facts.lowest.index }}, {{ facts.lowest.pesq | num(".2f") }}
{%- endif %}
{%- for row in facts.anchors %}
; {{ row.processing or "Codec 2" }} has {{ row.pesq | num(".2f") }}
{%- endfor %}. {{ facts.about_sets }}</p>
{% if facts.steps %}
<ul>
{% for step in facts.steps %}
<li>Index {{ step.index }} against {{ step.from }}: {{ step.all | num("+.2f") }} PESQ
{%- if step.said %}, 95 % interval {{ step.interval }}: {{ step.said }}{% endif %}
{%- if step.male is not none and step.female is not none %}
 ({{ step.male | num("+.2f") }} for male, {{ step.female | num("+.2f") }} for female speech)
{%- endif %}.</li>
{% endfor %}
</ul>
{% endif %}
{% else %}
<p>PESQ was not measured.</p>
{% endif %}
<p><a href="{{ part.link }}/index.html">Listen and compare</a>
{%- if facts.beside %} · <a href="#beside-{{ part.name }}">Beside the original's figures</a>{% endif %}</p>
""",
    "beside": """
{% set beside = part.facts.beside %}
{% if beside %}
<h4 id="beside-{{ part.name }}">Beside the original's figures: what compares</h4>
<p>
{%- if beside.inside %}
{{ listed(beside.inside) }} belong{{ "s" if beside.inside | length == 1 }} to the database that the original's author
trained his networks on ({{ beside.database }}); ours are trained on none of these samples. Inside it his figures are
those of networks that know the speech, so only the speech outside it compares fairly
{%- if beside.outside %}: {{ listed(beside.outside) }}.{% else %}, and no sample here is outside.{% endif %}
{%- elif beside.outside %}
None of {{ listed(beside.outside) }} belongs to the database that the original's author trained his networks on
({{ beside.database }}), nor to the speech that ours are trained on, so the figures compare.
{%- endif %}
{%- if beside.unknown %}
 Whether {{ listed(beside.unknown) }} belong{{ "s" if beside.unknown | length == 1 }} to it is not known.
{%- endif %}
{%- if beside.untrained %}
 Outputs that no network makes (index {{ listed(beside.untrained) }}) are left out.
{%- endif %}</p>
{% if beside.differences %}
<p>On the speech outside, mean PESQ of ours less the published is
{% for one in beside.differences %}
{{ one.mean | num("+.2f") }} at index {{ one.index }}
{%- if loop.revindex == 2 %} and {% elif not loop.last %}, {% endif %}
{%- endfor %}.
That is of only {{ beside.outside | length }} sample{{ "s" if beside.outside | length > 1 }}, and training again on
another processor moves ours by about 0.1.</p>
{% endif %}
{% for one in beside.of_source %}{{ table(one) }}{% endfor %}
{% if beside.of_ideal_y %}
<p>The speech of ideal y is synthesised from the true y, without a network or a quantiser, but with the same pitch,
voicing and phases as the outputs. So the distance to it is what networks and quantiser alone do. A smaller LSD and a
larger PESQ are nearer to it.</p>
{% for one in beside.of_ideal_y %}{{ table(one) }}{% endfor %}
{% endif %}
{% if beside.others %}
<details><summary>STOI, ESTOI and LSD against the source speech</summary>
{% for one in beside.others %}{{ table(one) }}{% endfor %}
</details>
{% endif %}
{% for sd in beside.sd %}
{{ table(sd.table) }}
<p>The published SD of index {{ sd.index }} does not compare with ours: it is {{ sd.published[0] | num(".2f") }} to
{{ sd.published[1] | num(".2f") }} dB², ours {{ sd.ours[0] | num(".2f") }} to {{ sd.ours[1] | num(".2f") }} dB², a mean
over all frames.
{%- if sd.ideal_y %}
 If it were such a mean, the published wavs would lie much nearer to the speech of ideal y than ours.
{{ "They do not" if sd.as_far else "Measured" }}:
{% for name, means in sd.ideal_y.items() %}
{{ "PESQ" if name == "ideal_y_pesq" else "LSD" }} is {{ means.published | num(".2f") }}
{{- " dB" if name != "ideal_y_pesq" }} for the published wavs and {{ means.ours | num(".2f") }}
{{- " dB" if name != "ideal_y_pesq" }} for ours{{ ", " if not loop.last }}
{%- endfor %} (means over the samples above).
{%- endif %}</p>
{% endfor %}
<h5>What is not known</h5>
<ul>
{% for sd in beside.sd %}
<li>What the published SD of index {{ sd.index }} is a mean over; {{ sd.note }}.</li>
{% endfor %}
<li>Which speech the author's database held besides. We do not have it and train on other speech, so data and training
differ together.</li>
<li>Which PESQ the author would have found. His README has verdicts by ear; the published PESQ here is measured from his
wavs by the package <code>pesq</code> (ITU-T P.862, on the scale of P.862.1), as ours is.</li>
<li>By how much his figures would move if he trained again.</li>
{% if beside.one_sex %}
<li>How the two compare for {{ "female" if beside.one_sex == "male" else "male" }} voices: all those outside are
{{ beside.one_sex }}.</li>
{% endif %}
</ul>
{% endif %}
""",
    "caption": "Loss and SD against epochs. " + HELD_OUT_BELOW,
}
