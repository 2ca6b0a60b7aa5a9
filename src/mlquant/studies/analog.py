"""Can latents go over a noisy channel as they are, and how does that compare with a quantiser's bits as QPSK?

The channel adds white Gaussian noise. A symbol is two real dimensions: two neighbouring latents, or two bits. Es is
the mean energy of the symbols that are sent, N0/2 the variance of the noise in a dimension, and `snr` the ratio Es/N0.
Networks are trained without noise, and with the noise of each ratio. Source: analog.tex of the original.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mlquant.core.blocks import Block, Name, Positive
from mlquant.core.errors import InputError
from mlquant.core.stage import Setting
from mlquant.core.types import MBEST
from mlquant.networks.types import Seed
from mlquant.studies import shared

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class Settings(Block):
    """Latents as symbols over a noisy channel, against bits as QPSK."""

    kind: Annotated[Literal["analog"], Setting(help="which study it is")]
    base: Annotated[dict[str, Any], Setting(help="settings of the networks, but for d and the noise")]
    d: Annotated[list[Positive], Field(min_length=1), Setting(help="numbers of latents")]
    snr_dB: Annotated[list[float], Field(min_length=1), Setting(help="ratios Es/N0 of the channel, in dB")]
    quantiser: Annotated[str, Setting(help="the quantiser whose bits are sent for comparison")]
    stages: Annotated[Positive, Setting(help="how many of its stages are sent")] = 2
    mbest: Annotated[Positive, Setting(help="survivors of its search")] = MBEST
    sample: Annotated[Name, Setting(help="the sample that is made speech again behind the channel")]
    manifold: Annotated[str, Setting(help="the network from b_hat to y_hat that this speech is made with")]
    wav_snr_dB: Annotated[list[float], Setting(help="ratios at which speech is made; each is one of snr_dB")]
    bandwidth: Annotated[Positive, Setting(help="bandwidth in Hz of the other signal to noise ratio")] = 3000
    seed: Annotated[Seed, Setting(help="seed of the noise")] = 1


def channel_networks(name: str, settings: Settings) -> Iterator[tuple[str, int, float | None]]:
    """Give the place of each network that the study trains, its latents d, and the ratio in dB, None for no noise."""
    for d, snr in product(settings.d, (None, *settings.snr_dB)):
        yield f"studies.{name}.base.d{d}" + ("" if snr is None else f"_{snr:g}dB".replace(".", "p")), d, snr


def networks(name: str, settings: Settings, add: Callable) -> None:
    for place, d, snr in channel_networks(name, settings):
        # N0/2, the noise of a real dimension, at this ratio of a symbol's energy, 1, to N0.
        noise_var = 0.0 if snr is None else float(f"{0.5 * 10 ** (-snr / 10):.6g}")
        add(place, settings.base, {"d": d, "noise_var": noise_var, "symbols": True})


def check(config: Any, name: str, settings: Settings) -> None:
    shared.check_quantiser(config, name, settings, stages=settings.stages)
    place, *_ = next(channel_networks(name, settings))
    shared.check_direction(config, name, "base", place, "b")
    shared.check_direction(config, name, "quantiser", config.quantisers[settings.quantiser].network, "b")
    shared.check_direction(config, name, "manifold", settings.manifold, "y")


def needs(graph: Any, name: str, settings: Settings) -> shared.Summary:
    network, sample = graph.config.quantisers[settings.quantiser].network, graph.sample(settings.sample)
    files = {
        **shared.files_of_network(graph, network),
        **{"b": sample.b, "y": sample.y, "model": sample.model},
        "quantiser": {
            "weights": shared.weights_of(graph, network),
            "codebooks": graph.codebooks(settings.quantiser, settings.stages),
            "mbest": settings.mbest,
        },
        "manifold": shared.weights_of(graph, settings.manifold),
        "networks": [
            {"d": d, "snr_dB": snr, "weights": shared.weights_of(graph, place)}
            for place, d, snr in channel_networks(name, settings)
        ],
    }
    own = settings.model_dump(exclude={"base"}) | {"frame_ms": shared.frame_ms(graph, network)}
    return shared.summary(name, own, files)


# the channel


def awgn(latents: np.ndarray, N0: float, rng: np.random.Generator) -> np.ndarray:
    """Return latents [F, d] as they are received: [F, d] float32."""
    import numpy as np

    return (latents + np.sqrt(N0 / 2) * rng.standard_normal(latents.shape)).astype(np.float32)


def snr_in_bandwidth(snr: float, symbols: float, seconds: float, bandwidth: float) -> float:
    """Return the SNR in `bandwidth` Hz of `symbols` sent in `seconds`: of d latents every Ts it is Es*d/(2*N0*Ts*B)."""
    return snr * symbols / (seconds * bandwidth)


def qpsk(indices: np.ndarray, width: int, snr: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Return indices [F, stages] of `width` bits as hard decisions receive them, and the share of wrong bits."""
    import numpy as np

    bits = (indices[..., None] >> np.arange(width)) & 1
    # With Gray coding the bits of a symbol of energy 1 are the signs in its two dimensions.
    received = np.sqrt(0.5) * (1 - 2 * bits) + np.sqrt(0.5 / snr) * rng.standard_normal(bits.shape) < 0
    return received @ (1 << np.arange(width)), float(np.mean(received != bits))


def qpsk_bit_error_rate(snr: float) -> float:
    """Return the share of wrong bits to expect, Q(sqrt(Es/N0))."""
    import numpy as np
    from scipy.special import erfc

    return 0.5 * float(erfc(np.sqrt(snr / 2)))


# what is measured


def tables(settings: dict) -> dict[str, pd.DataFrame]:
    """Return SD in dB^2 on held-out vectors: of latents sent as symbols, and of the bits of a quantiser as QPSK.

    A network that was trained with the noise of a ratio is measured at that ratio, everything else at all of them.
    """
    import numpy as np
    import pandas as pd

    rows = []
    for entry in [*settings["networks"], settings["quantiser"]]:
        network, trained, _, (latents, target) = shared.vector_sets({**settings, **entry})
        own, scheme = entry.get("snr_dB"), "digital" if "codebooks" in entry else "analog"
        kind = (scheme, latents.shape[1], "" if scheme == "digital" else "plain" if own is None else "matched")
        for snr_dB in settings["snr_dB"] if own is None else [own]:
            received, symbols, *counted = _received(entry, latents, snr := 10 ** (snr_dB / 10), settings["seed"])
            wide = snr_in_bandwidth(snr, symbols, settings["frame_ms"] / 1000, settings["bandwidth"])
            sd = shared.sd_dB2(trained, network.decode(received), target)
            rows.append((*kind, snr_dB, 10 * np.log10(wide), *counted, sd))
    columns = ["scheme", "d", "trained", "snr_dB", f"snr_{settings['bandwidth']:g}_dB", "Es"]
    return {"analog": pd.DataFrame(rows, columns=[*columns, "bit_error_rate", "bit_error_rate_theory", "sd_dB2"])}


def speech(settings: dict) -> dict[str, np.ndarray]:
    """Return the sample's speech [N] int16 at each of `wav_snr_dB`, through a matched network and through the bits.

    The network is that of the first d. Raises InputError for a ratio that no network is trained for.
    """
    from mlquant.core import records
    from mlquant.networks import inference
    from mlquant.vocoder import decoder

    b, y = records.read_features(settings["b"]), records.read_f32(settings["y"], 79)
    model, manifold = records.read_model(settings["model"]), inference.load(settings["manifold"])
    d, matched = settings["networks"][0]["d"], {(entry["d"], entry["snr_dB"]): entry for entry in settings["networks"]}
    made = {}
    for snr_dB in settings["wav_snr_dB"]:
        if (d, snr_dB) not in matched:
            raise InputError(f"wav_snr_dB: found {snr_dB:g}, but no network of d {d} is trained for it")
        for entry in (matched[d, snr_dB], settings["quantiser"]):
            network = inference.load(entry["weights"])
            latents, snr = inference.encode(*network, b), 10 ** (snr_dB / 10)
            received, symbols, *_ = _received(entry, latents, snr, settings["seed"])
            y_hat = inference.infer(*manifold, inference.decode(*network, received, b), y)
            scheme = f"digital_vq{2 * symbols:g}" if "codebooks" in entry else f"analog_d{d}"
            made[f"{settings['sample']}_{scheme}_{snr_dB:g}dB"] = decoder.decode([model], y_hat)
    return made


def _received(entry: dict, latents: np.ndarray, snr: float, seed: int) -> tuple:
    """Send latents [F, d] as symbols, or as bits where the entry has codebooks.

    Returns the latents [F, d] that come out, the symbols that a vector takes, Es, and the bit error rate with the one
    to expect, which are None for symbols. Raises InputError for codebooks of different sizes.
    """
    import numpy as np

    from mlquant.core import records
    from mlquant.networks import dense
    from mlquant.quantisers import vq

    rng = np.random.default_rng(seed)
    if "codebooks" not in entry:
        sent = dense.constrained(latents)
        Es = 2 * float(np.square(sent, dtype=np.float64).mean())
        return awgn(sent, Es / snr, rng), sent.shape[1] / 2, Es, None, None
    codebooks = [records.read_f32(path, latents.shape[1]) for path in entry["codebooks"]]
    width = len(codebooks[0]).bit_length() - 1
    if {len(codebook) for codebook in codebooks} != {2**width}:
        raise InputError(f"codebooks: {[*map(len, codebooks)]} entries, expected the same power of two in each")
    indices, errors = qpsk(vq.search(latents, codebooks, entry["mbest"]), width, snr, rng)
    return vq.decode(indices, codebooks), len(codebooks) * width / 2, 1.0, errors, qpsk_bit_error_rate(snr)


COLUMNS = {
    "scheme": "analog: the latents are the symbols; digital: the bits of a quantiser are sent as QPSK",
    "d": "latents of a vector",
    "trained": "plain: without noise; matched: with the noise of this ratio",
    "snr_dB": "Es/N0, the energy of a symbol to the noise, in dB",
    "snr_*_dB": "signal to noise ratio in the bandwidth, in Hz, that the name of the column tells, in dB",
    "Es": "mean energy of a symbol",
    "bit_error_rate": "share of wrong bits that was counted",
    "bit_error_rate_theory": "share of wrong bits to expect of QPSK at this ratio",
    "sd_dB2": "spectral distortion of held-out vectors, in dB²",
}


def figure(figure: Any, folder: Path) -> None:
    from mlquant.core.figures import draw_curves, label_ends
    from mlquant.core.tables import read_table

    figure.set_size_inches(8.5, 4.2)
    table = read_table(folder / "analog.csv").fillna({"trained": ""}).sort_values(["scheme", "d", "trained", "snr_dB"])
    snr, wide = table.columns[3:5]
    schemes = {"analog": "latents", "digital": "bits as QPSK"}
    trained = {"plain": "trained without noise", "matched": "trained with noise"}
    table = table.replace({"scheme": schemes, "trained": trained}).assign(d="d = " + table["d"].astype(str))
    axes = figure.subplots(1, 2, sharey=True)
    for axis, column in zip(axes, (snr, wide), strict=True):
        draw_curves(axis, table, column, "sd_dB2", "scheme", "d", "trained")
        band = "the symbol rate" if column == snr else f"{column.split('_')[1]} Hz"
        axis.set(xlabel=f"SNR in a bandwidth of {band} (dB)", yscale="log")
    axes[0].set_ylabel("SD (dB²)")
    label_ends(axes[1])  # of both


# in the report

TITLE = "Latents as symbols, bits as symbols"
SECTION, PLACE = "Analog transmission", 60


def report(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    from mlquant.core.tables import laid_out, read_rows

    table = read_rows(folder / "analog.csv", "scheme", "d", "trained", "snr_dB", "bit_error_rate", "sd_dB2")
    table["trained"] = table["trained"].fillna("")
    how = {"plain": ", trained without noise", "matched": ", trained with noise", "": ""}
    trained = table["trained"].map(lambda word: how.get(word, f", {word}"))
    table["label"] = table["scheme"] + ", d = " + table["d"].astype(str) + trained
    sd = table.pivot_table(index="snr_dB", columns="label", values="sd_dB2", sort=False).sort_index()
    errors = table[table["scheme"] == "digital"].set_index("snr_dB")["bit_error_rate"].reindex(sd.index)
    digital, best_analog = (
        table[table["scheme"] == scheme].groupby("snr_dB")["sd_dB2"].min().reindex(sd.index)
        for scheme in ("digital", "analog")
    )
    better = digital < best_analog
    lost = [*better.index[~better]]  # ratios at which the bits do worse
    from_on = [snr for snr in better.index if not lost or snr > max(lost)]
    facts = {
        "ends": [
            {"snr": snr, "name": sd.loc[snr].idxmin(), "sd": sd.loc[snr].min(), "digital": digital[snr]}
            for snr in (sd.index[0], sd.index[-1])
        ],
        "digital_from": from_on[0] if from_on else None,
        "wavs": sorted(path.name for path in folder.glob("*.wav")),
    }
    made = laid_out(
        "SD (dB²) against the signal to noise ratio of a symbol",
        ("SNR (dB)", sd.index, "g"),
        *((name, sd[name], ".4g") for name in sd),
        ("bit error rate", errors, ".2g"),
    )
    return facts, [made]


WORDS = {
    "question": """
Can latents go over a noisy channel as they are, two to a complex symbol, and how does that compare with a quantiser's
bits as QPSK?
""",
    "setup": """
<p>Networks of {{ listed(part.settings.d) }} latents, each trained without noise and with the noise of each ratio of
{{ listed(part.settings.snr_dB | map("num", "g") | list) }} dB. The bits are those of
{{ quantiser(part, part.settings.quantiser) }}, of which {{ part.settings.stages }}
{{ "are" if part.settings.stages > 1 else "is" }} sent. SD is on held-out vectors.</p>
""",
    "findings": """
<p>
{%- for end in part.facts.ends %}
At {{ end.snr | num("g") }} dB the least SD is {{ end.sd | num(".3g") }} dB² ({{ end.name }}); the bits have
{{ end.digital | num(".3g") }}.
{% endfor %}
{% if part.facts.digital_from is not none %}
The bits are better than every analog scheme from {{ part.facts.digital_from | num("g") }} dB on.
{%- else %}
At the highest ratio an analog scheme is still better than the bits.
{%- endif %}</p>
{% if part.facts.wavs %}
<p>To listen to:
{% for wav in part.facts.wavs %}
<a href="{{ part.link }}/{{ wav | urlencode }}">{{ wav }}</a>{{ "," if not loop.last }}
{%- if not loop.last %} {% endif %}
{% endfor %}.</p>
{% endif %}
""",
    "caption": "SD against the signal to noise ratio of a symbol, and of the band.",
}
