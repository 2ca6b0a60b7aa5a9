"""What does a network that goes from b to b_hat do to the frames of a sample?

The spectral distortion of each frame, and the spectra of a few frames: of each part of the sample's loud speech the
frame whose distortion is the median. Source: the demonstrations of the original's README.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mlquant.core.blocks import Block, Line, Name, Positive
from mlquant.core.stage import Setting
from mlquant.networks.types import HELD_OUT_BELOW
from mlquant.studies import shared

if TYPE_CHECKING:
    import pandas as pd


class Settings(Block):
    """What a network does to the frames of a sample."""

    kind: Annotated[Literal["demo"], Setting(help="which study it is")]
    title: Annotated[Line, Setting(help="title of the figure")] = ""
    network: Annotated[str, Setting(help="the network, one from b to b_hat")]
    sample: Annotated[Name, Setting(help="the sample")]
    frames: Annotated[Positive, Setting(help="how many frames are drawn")] = 4


def check(config: Any, name: str, settings: Settings) -> None:
    shared.check_direction(config, name, "network", settings.network, "b")


def needs(graph: Any, name: str, settings: Settings) -> shared.Summary:
    network = graph.network(settings.network)
    files = {"weights": network.file("weights.safetensors"), "losses": network.file("losses.csv")}
    files |= {"features": [graph.sample(settings.sample).b]}
    return shared.summary(name, settings.model_dump() | {"frame_ms": shared.frame_ms(graph, settings.network)}, files)


def tables(settings: dict) -> dict[str, pd.DataFrame]:
    """Return the losses of the training, the SD of all frames, the frames that are drawn, and means.

    Raises InputError for a network that does not give back b, and for more frames than the sample has loud ones.
    """
    import numpy as np
    import pandas as pd

    from mlquant.core import records
    from mlquant.core.errors import InputError
    from mlquant.core.records import FRAME, SAMPLE_RATE
    from mlquant.core.tables import read_table
    from mlquant.networks import inference
    from mlquant.vocoder import features

    shared.require_files(settings)
    network, trained = inference.load(settings["weights"])
    losses = read_table(settings["losses"], "sd_dB2", "held_out_sd_dB2")
    feature_records = records.read_features(settings["features"][0])
    b, b_hat = feature_records[:, :20], inference.spectrum(inference.infer(network, trained, feature_records))
    if b_hat.shape != b.shape:
        raise InputError(f"{settings['weights']}: makes y_hat, expected a network that gives back b")
    energy, sd = features.energy_dB(b), np.square(b - b_hat).mean(axis=1)
    speech = energy > (10 if trained["thresh"] is None else trained["thresh"])
    loud = np.flatnonzero(speech & (energy >= np.median(energy)))
    if len(loud) < settings["frames"]:
        raise InputError(f"frames: found {settings['frames']}, expected at most {len(loud)}, the sample's loud ones")
    parts = np.array_split(loud, settings["frames"])
    chosen = np.array([part[np.argsort(sd[part])[len(part) // 2]] for part in parts])  # of median SD
    number, kHz = np.arange(len(b)), np.tile(features.B_HZ / 1000, len(chosen))
    frames = {"frame": number, "time_s": number * FRAME / SAMPLE_RATE, "energy_dB": energy, "sd_dB2": sd}
    ends = {"b_dB": b[chosen].ravel(), "b_hat_dB": b_hat[chosen].ravel()}
    means = [losses["sd_dB2"].iloc[-1], losses["held_out_sd_dB2"].iloc[-1], sd[speech].mean()]
    summary = {"set": ["training", "held_out", "sample"], "sd_dB2": means, "title": settings["title"]}
    made = {"frames": frames, "shown": {"frame": chosen.repeat(20), "f_kHz": kHz, **ends}, "summary": summary}
    return {"losses": losses} | {name: pd.DataFrame(table) for name, table in made.items()}


COLUMNS = {
    "epoch": "number of the epoch of the training",
    "lr": "learning rate",
    "loss": "loss of the training vectors",
    "sd_dB2": "spectral distortion of the training vectors in losses.csv, of each frame in frames.csv, and of each "
    "set in summary.csv, in dB²",
    "held_out_loss": "loss of the vectors that the training holds out",
    "held_out_sd_dB2": "spectral distortion of these, in dB²",
    "frame": "number of the frame, from 0",
    "time_s": "time of the frame, in seconds",
    "energy_dB": "energy of b, in dB",
    "f_kHz": "centre of the band, in kHz",
    "b_dB": "b of the frame, in dB",
    "b_hat_dB": "b_hat, what the network makes of it, in dB",
    "set": "training vectors, held-out vectors, or frames of the sample that hold speech",
    "title": "title of the figure",
}


def figure(figure: Any, folder: Path) -> None:
    from mlquant.core import figures
    from mlquant.core.tables import read_table

    frames, losses = read_table(folder / "frames.csv"), read_table(folder / "losses.csv")
    drawn = [*read_table(folder / "shown.csv").groupby("frame", sort=False)]
    across = min(4, len(drawn))
    down = -(-len(drawn) // across)
    figure.set_size_inches(9, 3.2 + 2.2 * down)
    above, below = figure.subfigures(2, 1, height_ratios=[3.2, 2.2 * down])
    training, time = above.subplots(1, 2)
    figures.draw_training(training, losses, "sd_dB2", "SD (dB²)")
    time.plot(frames["time_s"], frames["sd_dB2"], lw=0.8, label="_of each frame")
    time.set(xlabel="time in the sample (s)", ylabel="SD of a frame (dB²)")
    time.set_yscale("log" if (frames["sd_dB2"] > 0).any() else "linear")
    spectra = below.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axis, (frame, part) in zip(spectra.flat, drawn, strict=False):
        for name, values in (("b", "b_dB"), ("b_hat", "b_hat_dB")):
            axis.plot(part["f_kHz"], part[values], ".-", label=name)
        axis.set_title(f"frame {frame}")
    for axis in spectra.flat[len(drawn) :]:
        axis.remove()
    for column in range(across):
        lowest = spectra[(len(drawn) - 1 - column) // across, column]
        lowest.set_xlabel("frequency (kHz)")
        lowest.tick_params(labelbottom=True)
    for axis in spectra[:, 0]:
        axis.set_ylabel("amplitude (dB)")
    figures.title(figure, read_table(folder / "summary.csv").fillna({"title": ""})["title"][0])
    figures.label_ends(training, spectra[0, -1])


# in the report

TITLE = ""  # an entry's own
SECTION, PLACE = "Dimension reduction", 11


def report(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    from mlquant.core.errors import InputError
    from mlquant.core.tables import laid_out, read_rows

    summary = read_rows(folder / "summary.csv", "set", "sd_dB2").set_index("set")["sd_dB2"]
    frames = read_rows(folder / "frames.csv", "time_s", "energy_dB", "sd_dB2")
    losses = read_rows(folder / "losses.csv", "epoch", "held_out_sd_dB2")
    if missing := {"training", "held_out", "sample"} - {*summary.index}:
        raise InputError(f"{folder}/summary.csv: has no set {min(missing)}, expected one as of mlquant study")
    facts = {**summary, "epochs": len(losses), "first": losses["held_out_sd_dB2"].iloc[0], "frames": len(frames)}
    names = {"training": "training frames", "held_out": "held-out frames", "sample": "the sample's speech"}
    rows = [(names.get(name, name), value) for name, value in summary.items()]
    columns = ("of", [name for name, _ in rows], "s"), ("dB²", [value for _, value in rows], ".2f")
    return facts, [laid_out("Mean SD of b_hat", *columns)]


WORDS = {
    "question": """
{% set found = part.used[part.settings.network] %}
What is left of b when {{ found.ncat }} frame{{ "s" if found.ncat > 1 }}, {{ 20 * found.ncat }} values,
{{ "go" if found.ncat > 1 else "goes" }} through a bottleneck of {{ found.d }}?
""",
    "setup": """
<p>{{ network(part, part.settings.network) }} was trained on the corpus
<code>{{ part.used[part.settings.network].corpus }}</code> for {{ part.facts.epochs }}
epoch{{ "s" if part.facts.epochs != 1 }} and then given the {{ part.facts.frames }} frames of
<code>{{ part.settings.sample }}</code>. The spectra are the
{{ part.settings.frames }} frames of median SD in equal parts of its loud speech.</p>
""",
    "findings": """
<p>In training the held-out SD
{{ "went from " ~ (part.facts.first | num(".2f")) ~ " to" if part.facts.epochs > 1 else "is" }}
{{ part.facts.held_out | num(".2f") }} dB², against {{ part.facts.training | num(".2f") }} dB² on the training frames.
On the speech of <code>{{ part.settings.sample }}</code> it is {{ part.facts.sample | num(".2f") }} dB².</p>
""",
    "caption": "Held-out and training SD against epochs, SD of each frame of the sample, and frames of b and b_hat. "
    + HELD_OUT_BELOW,
}
