"""The tables of an experiment: measures of every sample and output, their means, a legend, and the provenance."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from mlquant.core import provenance
from mlquant.core.disk import file_sha256, read_json, require, write_json, write_text
from mlquant.core.errors import markdown
from mlquant.core.tables import explained, formatted
from mlquant.experiments import sets
from mlquant.experiments.told import OVER_SPEAKERS, counted
from mlquant.measures.columns import ABOUT, COLUMNS, FRAMES, NAMES, OF_SPEECH, dictionary
from mlquant.speech.corpus import refuse_samples

_WRITTEN = ("README.md", "anchors.csv", "columns.csv", "config.yaml", "frames.csv", "means.csv", "measures.csv")
_WRITTEN += ("set_means.csv", "set_pairs.csv", "utterances.csv")
GROUPS = {"all": ("m", "f", None), "male": ("m",), "female": ("f",)}


def tabulate(
    experiment: dict,
    measured: list[Path],
    sidecars: list[Path],
    origins: dict[str, str],
    out: Path,
    manifests: Collection[Path] = (),
    root: Path | None = None,
) -> None:
    """Write the tables of an experiment, README.md, config.yaml and provenance.json into a folder.

    The tables are measures.csv, means.csv, anchors.csv and frames.csv, and of the test set utterances.csv,
    set_means.csv and set_pairs.csv; columns.csv explains their columns.

    `experiment` is its entry of the configuration with its name, and with what its page shows besides the tables.
    `measured` holds two files measured.json for each sample: of its outputs, and of its anchors, whose rows have no
    index (see the command `measure`). `sidecars` holds the provenance.json of each network and codebook, `origins` the
    checksums of the files that the speech came from, `manifests` the manifest.csv of each corpus. The key in the
    folder's name goes into the provenance. Raises InputError for records that lack something, and for a sample whose
    speech is in one of the corpora.
    """
    started = provenance.now()
    records = [read_json(path) for path in measured]
    for path, record in zip(measured, records, strict=True):
        require(record, str(path), "sample", "sex", "references", "rows", "stages", "measures", "frames", "pesq")
        require(record, str(path), "files")
    speech = {record["sample"]: record["files"].get(record["references"].get("source"), "") for record in records}
    refuse_samples(speech, manifests)
    sidecar_records = [read_json(path) for path in sidecars]
    for path, record in zip(sidecars, sidecar_records, strict=True):
        require(record, str(path), "key", "started", "seconds", "seed", "stages", "files", "folder")
    require(experiment, "experiment", "name", "title", "samples", "outputs", "speech_dir", "networks", "codebooks")
    require(experiment, "experiment", "bottleneck", "definitions", "published", "config")
    measures = pd.DataFrame([row for record in records for row in record["measures"]], columns=[*NAMES, *COLUMNS])
    measures = measures.astype({name: "Int64" for name, column in COLUMNS.items() if column.whole})
    anchors = measures[measures["index"].isna()].dropna(axis="columns", how="all")
    measures = measures[measures["index"].notna()].astype({"index": int})
    made = set(measures["sample"])
    left_out = [name for name in experiment["samples"] if name not in made]
    none = dict.fromkeys(FRAMES)
    frames = [
        pd.DataFrame({"sample": record["sample"], "index": row["index"], "tag": row["tag"], **none, **values})
        for record in records
        for row, values in zip(record["rows"], record["frames"], strict=True)
        if row["index"] is not None
    ]
    frames = [table.rename_axis("frame").reset_index() for table in frames]
    columns = ["sample", "index", "tag", "frame", *FRAMES]
    of_set = sets.tables(experiment, root)
    refuse_samples(sets.checksums(experiment, root), manifests)
    tables = {
        "measures": measures,
        "means": means(measures),
        "anchors": anchors,
        "frames": pd.concat(frames)[columns],
        **of_set,
    }
    tables["columns"] = pd.DataFrame(dictionary(tables, ABOUT | sets.ABOUT))
    for name, table in tables.items():
        write_text(out / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))
    empty, optional = (
        [*dict.fromkeys(text for record in records for text in record.get(name, ()))] for name in ("empty", "optional")
    )
    test_set = sets.about(experiment, root)
    write_text(out / "README.md", _readme(experiment, measures, left_out, empty, optional, test_set, of_set))
    entries = {record["sample"]: record["entry"] for record in records if record.get("entry")}
    write_json(out / "config.yaml", experiment["config"] | {"samples": dict(sorted(entries.items()))})  # JSON is YAML
    about = _provenance(experiment, records, sidecar_records, left_out)
    about |= {"empty": empty, "optional": optional, "key": out.name.rpartition(".")[2], "test_set": test_set}
    about["files"] = dict(sorted({**about["files"], **origins}.items()))
    about["folder"] = {name: file_sha256(out / name) for name in _WRITTEN}
    write_json(out / provenance.NAME, about | provenance.ran_since(started))


def means(measures: pd.DataFrame) -> pd.DataFrame:
    """Return the means over samples of every measure: for each output a row over all samples, the male, the female.

    A group without samples has no rows.
    """
    rows, outputs = [], measures[["index", "tag"]].drop_duplicates()
    for group, sexes in GROUPS.items():
        chosen = measures[measures["sex"].isin(sexes)]
        if chosen.empty:
            continue
        table = chosen.drop(columns=["sample", "sex"]).groupby(["index", "tag"], sort=False)
        table = pd.concat([table.size().rename("samples"), table.mean()], axis="columns").reset_index()
        rows.append(outputs.merge(table).assign(group=group))
    table = pd.concat(rows)
    return table[["group", *table.columns.drop("group")]]


def _readme(
    experiment: dict,
    measures: pd.DataFrame,
    left_out: list[str],
    empty: list[str],
    optional: list[str],
    test_set: dict | None,
    of_set: dict[str, pd.DataFrame],
) -> str:
    """Return the legend, the distortion of every sample and index, and what the test set says, as Markdown."""
    parts = [f"# {experiment['name']}", markdown(experiment["title"]) or "Samples of an experiment."]
    if quick := provenance.quick_look(experiment.get("lowered", {})):
        parts.append(f"**{markdown(quick)}**")
    parts += [
        f"**Warning: the optional sample {name} could not be obtained and is left out.** Put {name}.raw or "
        f"{name}.wav into `{experiment['speech_dir']}/` and run the same command again; or, to try the download "
        f"again, remove `results/optional_sources/` first."
        for name in left_out
    ]
    if empty:
        parts.append("**Warning: these measures are empty:**\n\n" + "\n".join(f"- {markdown(text)}" for text in empty))
        parts.append(
            "PESQ needs the Python package `pesq`, which a C compiler installs. "
            f"`snakemake results/{experiment['name']}_wav -R measure` measures again."
        )
    if optional:
        parts.append("Optional measures that are empty:\n\n" + "\n".join(f"- {markdown(text)}" for text in optional))
        parts.append(
            "`pip install 'mlquant[measures]'` installs all of them, in a checkout `pip install -c constraints.txt -e "
            f"'.[measures]'`. Then `snakemake results/{experiment['name']}_wav -R measure` measures again."
        )
    parts.append("`index.html` plays, shows and measures all of it. Each wav is named `<sample>_<index>_<tag>.wav`.")
    legend = [["index", "tag", "processing", "what it shows", "bits a frame", "bit/s"]]
    for output in experiment["outputs"]:
        rows = measures[(measures["index"] == output["index"]) & (measures["tag"] == output["tag"])]
        rates = [
            (f"{row.bits_per_frame} in {row.frame_ms} ms", f"{row.bit_per_s:.0f}")
            for row in rows.dropna(subset=["bits_per_frame"]).itertuples()
        ] or [("-", "-")]
        legend.append([output["index"], output["tag"], output["processing"], output["shows"], *rates[0]])
    sd = measures.dropna(subset=["sd_dB2"])
    sd = sd.pivot_table(index="sample", columns=["index", "tag"], values="sd_dB2", sort=False)
    distortions = [["sample", *(f"{index} {tag}" for index, tag in sd.columns)]]
    for sample, row in [*sd.iterrows(), ("mean", sd.mean())]:
        distortions.append([sample, *(f"{value:.2f}" for value in row)])
    parts += [
        _table(legend),
        "Spectral distortion in dB² (200 to 3700 Hz, all frames), by sample and index:",
        _table(distortions),
        "`measures.csv` holds these and the other measures, `means.csv` their means, `anchors.csv` those of Codec 2, "
        "`frames.csv` distortions frame by frame, `columns.csv` what each column of these tables means, "
        "`provenance.json` the settings, inputs and versions behind every file.",
    ]
    parts += _of_set(test_set, of_set["set_means"])
    names = experiment["networks"]
    if names:
        parts += ["Training of the networks:", "\n".join(f"![loss of {name}]({name}_losses.png)" for name in names)]
    parts += ["## Columns of measures.csv", explained(measures.dropna(axis="columns", how="all"), ABOUT)]
    for name, table in of_set.items() if test_set else ():
        parts += [f"## Columns of {name}.csv", explained(table, ABOUT | sets.ABOUT)]
    return "\n\n".join(parts) + "\n"


def _of_set(test_set: dict | None, means: pd.DataFrame) -> list[str]:
    """Return what the tables of the test set are, and its means of the first measure of speech that it has."""
    files = "`utterances.csv`, `set_means.csv` and `set_pairs.csv`"
    if not test_set:
        return [f"{files} have no rows, as the experiment has no test set."]
    measured = [one for one in OF_SPEECH if (means["measure"] == one.name).any()]
    parts = [
        f"## Test set {markdown(test_set['name'])}",
        f"The outputs were measured on {counted(test_set)} as well: `utterances.csv` holds the measures of each, "
        f"`set_means.csv` their means, of all speakers and by sex, and `set_pairs.csv` the differences of each two "
        f"outputs. {OVER_SPEAKERS} These figures count for more than those of the samples, which are few.",
    ]
    for one in measured[:1]:
        rows = means[(means["measure"] == one.name) & (means["group"] == "all")].to_dict("records")
        numbers = [[formatted(row[end], one.format) for end in ("mean", "low", "high")] for row in rows]
        cells = [[row["index"], row["tag"], *three] for row, three in zip(rows, numbers, strict=True)]
        parts.append(_table([["index", "tag", f"{one.heading}, mean", "low", "high"], *cells]))
    return parts


def _table(rows: list[list]) -> str:
    """Return a table in Markdown; the first row is its header."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(markdown(str(cell)) for cell in line)} |" for line in lines)


def _provenance(experiment: dict, records: list[dict], sidecar_records: list[dict], left_out: list[str]) -> dict:
    """Return every key, file, setting and version behind the experiment."""
    samples, wavs = {}, {}
    for record in records:
        rows = [row for row in record["rows"] if row["index"] is not None]
        if rows:
            samples[record["sample"]] = {"sex": record["sex"], **record["references"], "rows": rows}
            for row in rows:
                name = f"{record['sample']}_{row['index']}_{row['tag']}.wav"
                wavs[name] = {"from": row["files"]["wav"], "index": row["index"], "tag": row["tag"]}
    stages, files, trained = {}, {}, {}
    for record in records + sidecar_records:
        stages |= record["stages"]
        files |= record["files"]
    for record in sidecar_records:
        (folder,) = (folder for folder, node in record["stages"].items() if node["key"] == record["key"])
        files |= {f"{folder}/{name}": sha256 for name, sha256 in record["folder"].items()}
        trained[folder] = {name: record[name] for name in ("started", "seconds", "seed")}
    latents = {record["sample"]: record["latents"] for record in records if record.get("latents")}
    folder = f"results/{experiment['name']}_wav"
    elsewhere = ("networks", "codebooks", "bottleneck", "definitions", "config")
    return {
        "experiment": {name: value for name, value in experiment.items() if name not in elsewhere},
        "command": f"snakemake {folder} --configfile {folder}/config.yaml",
        "left_out": left_out,
        "pesq": all(record["pesq"] for record in records),
        "wavs": dict(sorted(wavs.items())),
        "samples": samples,
        **{name: experiment[name] for name in ("networks", "codebooks", "definitions")},
        "bottleneck": experiment["bottleneck"] and experiment["bottleneck"] | {"latents": latents},
        "trained": trained,
        "stages": dict(sorted(stages.items())),
        "versions": provenance.versions(),
        "files": files,
    }
