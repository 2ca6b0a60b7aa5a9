"""The commands of experiments: their tables, the folder with its page, and the comparison of two."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mlquant.core.stage import File, Json, Root, Setting, stage


@stage(
    "experiments",
    out=(
        "means.csv",
        "measures.csv",
        "anchors.csv",
        "frames.csv",
        "columns.csv",
        "README.md",
        "config.yaml",
        "utterances.csv",
        "set_means.csv",
        "set_pairs.csv",
        "provenance.json",
    ),
    found=("origins", "of_set"),
    example="experiment.json --measured big_dog.json mmt1.json -o 240118",
)
def tabulate(
    experiment: Annotated[Json, Setting(help="JSON text or file", block="mlquant.experiments.settings:Tables")],
    measured: Annotated[list[Path], File(help="files written by measure", flag="--measured", metavar="JSON")],
    sidecars: Annotated[
        list[Path], File(help="provenance.json of its networks and codebooks", flag="--sidecars", metavar="JSON")
    ] = [],  # noqa: B006
    *,
    origins: Annotated[list[Path], File(help="files that its speech came from, for their checksums")] = [],  # noqa: B006
    out: Annotated[Path, File(help="tables, README.md and provenance.json", flag="--out", metavar="DIR")],
    root: Root = None,
) -> None:
    """Write the tables of an experiment, and its provenance.

    These are the measures of each sample and output, their means, and a legend.
    """
    from mlquant.core import provenance
    from mlquant.experiments import tables

    sources = provenance.checksums(origins, root)
    manifests = [path for path in origins if path.name == "manifest.csv"]  # of the corpora
    tables.tabulate(experiment, measured, sidecars, sources, out, manifests, root)


@stage(example="results/experiments/240118.3f9a1c2e --figures losses.png -o 240118_wav")
def page(
    tables: Annotated[Path, File(help="a folder written by tabulate", metavar="DIR")],
    figures: Annotated[list[Path], File(help="loss curves", flag="--figures", metavar="PNG")] = [],  # noqa: B006
    *,
    ratings: Annotated[
        list[Path], File(help="ratings.csv of its listening tests", flag="--ratings", metavar="CSV")
    ] = [],  # noqa: B006
    history: Annotated[
        Path | None, File(help="table of all variants so far, which gets the rows of this one", metavar="CSV")
    ] = None,
    out: Annotated[Path, File(help="wavs, tables and index.html", flag="--out", metavar="DIR")],
    root: Root = None,
) -> None:
    """Make the folder of an experiment: wavs, tables, a page.

    The page is one to listen to and to look at.
    """
    from mlquant.core import disk
    from mlquant.experiments import page

    paths = [path and path.absolute() for path in (tables, history, out)]
    figures, ratings = ([path.absolute() for path in some] for some in (figures, ratings))
    with disk.working_in(root):
        page.write(*paths, figures, ratings)


@stage(example="results/240118_wav results/best24_wav --pair 6:4")
def compare(
    a: Annotated[Path, File(help="a folder written by page or by tabulate", metavar="A")],
    b: Annotated[Path, File(help="another such folder", metavar="B")],
    *,
    out: Annotated[
        Path | None,
        File(help="tables and index.html; by default results/compare/A_vs_B", flag="--out", metavar="DIR"),
    ] = None,
    pair: Annotated[
        list[str],
        Setting(help="output 6 of A is compared with output 4 of B: 6:4; may be repeated", metavar="6:4"),
    ] = [],  # noqa: B006
    root: Root = None,
) -> None:
    """Compare two experiments, or two variants of one.

    What differs between them is printed, and a page is made with both.
    """
    from mlquant.core import disk
    from mlquant.experiments import compare, page

    a, b, out = a.absolute(), b.absolute(), out and out.absolute()
    folders = [folder.resolve().name.removesuffix("_wav") for folder in (a, b)]
    with disk.working_in(root), disk.new_folder(out or Path("results/compare") / "_vs_".join(folders)) as folder:
        comparison = compare.compare(a, b, pairs=pair)
        for one in (a, b):
            compare.refuse_others(one)
        compare.write(comparison, folder)
        named = list(zip(comparison.names, (a, b), strict=True))
        disk.write_text(folder / "index.html", page.render(named, comparison=compare.for_page(comparison)))
    print(compare.text(comparison))
