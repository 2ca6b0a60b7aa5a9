"""Quantisers, channel and statistics are those of the theory; studies give the tables and figures they promise."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from support.readmes import unexplained

from mlquant import studies
from mlquant.core import figures, records
from mlquant.core.errors import InputError
from mlquant.networks import dense, inference, training
from mlquant.networks.settings import Network, NetworkSettings
from mlquant.quantisers import vq
from mlquant.studies import analog, demo, latents, mbest, noise, shared, sweep, uniform_vq
from mlquant.vocoder import features

SMALL = {"family": "autoencoder1", "nn": 4, "d": 4, "loss": "sd", "lr": 2e-3, "batch": 64, "epochs": 2, "held_out": 0.2}


def records_of(frames, seed):
    """Feature records [F, 22] of a smooth spectrum that three slowly changing numbers make."""
    rng = np.random.default_rng(seed)
    shapes = np.cos(np.outer([1, 2, 3], np.linspace(0, np.pi, 20)))
    walk = np.stack([np.convolve(rng.standard_normal(frames + 4), np.ones(5) / 2, "valid") for _ in range(3)], axis=1)
    b = 40 + 8 * walk @ shapes
    return np.column_stack([b, rng.uniform(0.04, 0.3, frames), np.ones(frames)]).astype(np.float32)


def targets(array):
    """y [F, 79] that follows from b."""
    at = np.linspace(0, 19, 79)
    return np.stack([np.interp(at, np.arange(20), b) for b in array[:, :20]]).astype(np.float32)


def hum(frames):
    """A model of a voice that hums, louder and softer."""
    Wo = np.linspace(0.08, 0.1, frames, dtype=np.float32)
    L, loud = np.floor(np.pi / Wo).astype(np.int32), 1000 + 900 * np.sin(np.arange(frames))
    m = np.arange(161)
    A = np.where((m > 0) & (m <= L[:, None]), loud[:, None] / (1 + m), 0).astype(np.float32)
    return records.Model(Wo, L, A, np.zeros_like(A), np.ones(frames, np.int32))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Settings of a study of each kind, with all the files that they name: networks, codebooks, a sample."""
    folder = tmp_path_factory.mktemp("made")
    arrays = [records_of(300, seed) for seed in (1, 2)]
    for i, array in enumerate(arrays):
        records.write_f32(folder / f"b{i}.f32", array)
        records.write_f32(folder / f"y{i}.f32", targets(array))

    def trained(name, y=None, **changes):
        settings = NetworkSettings(**{**SMALL, **changes}).model_dump()
        training.train(settings, arrays, y, folder / name)
        return str(folder / name / "weights.safetensors")

    weights = trained("small", noise_var=1e-3, epochs=8)
    networks = [{"d": 4, "snr_dB": None, "weights": trained("plain", symbols=True, epochs=8)}]
    networks += [{"d": 4, "snr_dB": 5.0, "weights": trained("matched", symbols=True, noise_var=0.16)}]
    latents = np.concatenate([inference.encode(*inference.load(weights), array) for array in arrays])
    for stage in (1, 2):
        result = vq.train(latents, 16, seed=1)
        records.write_f32(folder / f"q{stage}.f32", result.codebook)
        trace = pd.DataFrame(result.trace, columns=["entries", "variance", "iterations"])
        trace.to_csv(folder / f"t{stage}.csv", index=False)
        latents = result.residual
    model = hum(60)
    b, y = features.model_to_features(model, -80)
    records.write_model(folder / "m.bin", model)
    (folder / "odd").write_bytes(bytes(1301))
    records.write_f32(folder / "v_b.f32", features.features_to_records(b, model.Wo, model.voiced))
    records.write_f32(folder / "v_y.f32", y)

    codebooks, traces = (
        [str(folder / f"{kind}") for kind in names] for names in (("q1.f32", "q2.f32"), ("t1.csv", "t2.csv"))
    )
    manifold = trained("manifold", [targets(array) for array in arrays], family="manifold", nn=1, d=None)
    common = {"name": "x", "seed": 1, "weights": weights, "features": [str(folder / f"b{i}.f32") for i in (0, 1)]}
    common |= {"targets": [], "frame_ms": 10}
    quantised = {"codebooks": codebooks, "traces": traces, "mbest": 3}
    kinds = {
        "noise": {**quantised, "noise_vars": [0, 1e-3, 1e-2, 1e-1], "frame_ms": 20},
        "uniform_vq": quantised,
        "latents": {"lags": 10, "seconds": 0.5},
        "mbest": {**quantised, "stages": [1, 2], "mbest": [2, 4, 16]},
        "analog": {
            "snr_dB": [0, 5, 10],
            "networks": networks,
            "quantiser": {"weights": weights, "codebooks": codebooks, "mbest": 3},
            "bandwidth": 3000,
            "wav_snr_dB": [5],
            "sample": "v",
            "model": str(folder / "m.bin"),
            "b": str(folder / "v_b.f32"),
            "y": str(folder / "v_y.f32"),
            "manifold": manifold,
        },
        "demo": {
            "losses": str(folder / "small/losses.csv"),
            "features": [str(folder / "v_b.f32")],
            "frames": 2,
            "title": "what it does",
        },
    }
    trained("of_y", [targets(array) for array in arrays], family="autoencoder2", nn=1)
    return folder, {kind: {**common, **settings, "kind": kind} for kind, settings in kinds.items()}


# --- the uniform quantiser and the channel ---------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5])
def test_a_uniform_quantiser_of_uniform_latents_has_the_variance_of_theory(bits):
    latents = np.random.default_rng(bits).uniform(-1, 1, (20000, 10)).astype(np.float32)
    quantised = vq.uniform(latents, bits)
    assert quantised.dtype == np.float32 and len(np.unique(quantised)) == 2**bits
    assert np.abs(latents - quantised).max() <= 1 / 2**bits + 1e-6
    assert vq.mean_squared_error(latents, quantised) == pytest.approx(1 / (3 * 4**bits), rel=0.02)


def test_a_uniform_quantiser_keeps_its_own_levels_and_clips_what_is_outside():
    levels = np.array([[-0.75, -0.25, 0.25, 0.75]], np.float32)
    np.testing.assert_array_equal(vq.uniform(levels, 2), levels)
    np.testing.assert_array_equal(vq.uniform(np.array([[-1.0, -7, 1, 7]]), 2), [[-0.75, -0.75, 0.75, 0.75]])


def test_symbols_beyond_magnitude_1_are_scaled_to_it_and_others_left():
    latents = np.random.default_rng(1).uniform(-1, 1, (500, 6)).astype(np.float32)
    sent = dense.constrained(latents)
    before, after = (np.hypot(array[:, 0::2], array[:, 1::2]) for array in (latents, sent))
    np.testing.assert_allclose(after, np.minimum(before, 1), atol=1e-6)
    angle = [np.arctan2(array[:, 1::2], array[:, 0::2]) for array in (latents, sent)]
    np.testing.assert_allclose(*angle, atol=1e-5)
    with pytest.raises(InputError, match="even"):
        dense.constrained(latents[:, :5])


def test_the_channel_s_symbols_are_those_that_networks_are_trained_with():
    from mlquant.networks.model import Network

    torch.manual_seed(1)
    settings = NetworkSettings(**SMALL, symbols=True).model_dump()
    x = 5 * torch.randn(100, 20)
    network = Network(settings).eval()
    with torch.no_grad():
        sent = network.encode(x).numpy()
        network.symbols = False
        free = network.encode(x).numpy()
    assert np.abs(sent - free).max() > 0.05
    np.testing.assert_allclose(dense.constrained(free), sent, atol=1e-6)


def test_noise_has_half_of_N0_in_each_dimension():
    latents = np.random.default_rng(1).uniform(-0.7, 0.7, (20000, 10)).astype(np.float32)
    noise = analog.awgn(latents, 0.3, np.random.default_rng(2)) - latents
    assert np.var(noise) == pytest.approx(0.15, rel=0.02) and abs(noise.mean()) < 0.005
    assert abs(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]) < 0.03


def test_the_SNR_in_a_bandwidth_is_that_of_the_symbol_rate_by_their_ratio():
    # Es*d/(2*N0*Ts*B): 10 latents every 10 ms are 500 symbols a second.
    assert analog.snr_in_bandwidth(2.0, 5, 0.01, 500) == pytest.approx(2.0)
    assert analog.snr_in_bandwidth(2.0, 5, 0.01, 3000) == pytest.approx(2.0 * 10 / (2 * 0.01 * 3000))


@pytest.mark.parametrize("snr_dB", [0, 4, 8])
def test_QPSK_has_the_bit_error_rate_of_theory(snr_dB):
    snr, count = 10 ** (snr_dB / 10), 40000
    indices = np.random.default_rng(3).integers(0, 4096, (count, 2))
    received, rate = analog.qpsk(indices, 12, snr, np.random.default_rng(4))
    expected, bits = analog.qpsk_bit_error_rate(snr), 24 * count
    assert abs(rate - expected) < 4 * np.sqrt(expected * (1 - expected) / bits)
    wrong = np.unpackbits((received ^ indices).astype(">u2").view(np.uint8)).sum()
    assert wrong == round(rate * bits) and received.shape == indices.shape


def test_QPSK_without_noise_to_speak_of_gives_back_the_indices():
    indices = np.arange(64).reshape(-1, 2)
    received, rate = analog.qpsk(indices, 6, 1e4, np.random.default_rng(1))
    np.testing.assert_array_equal(received, indices)
    assert rate == 0


@pytest.mark.parametrize(("snr_dB", "rate"), [(0, 0.158655), (9.8, 1.0e-3), (12.6, 1.0e-5)])
def test_the_bit_error_rate_is_the_tail_of_a_normal_distribution(snr_dB, rate):
    assert analog.qpsk_bit_error_rate(10 ** (snr_dB / 10)) == pytest.approx(rate, rel=0.05)


# --- statistics of latents -------------------------------------------------------------------------------


def test_components_have_the_shares_of_a_known_covariance():
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    vectors = (5 + rng.standard_normal((50000, 3)) * [3, 2, 1]) @ turn
    np.testing.assert_allclose(latents.component_shares(vectors), np.array([9, 4, 1]) / 14, rtol=0.03)


def test_an_AR1_series_has_powers_of_its_coefficient_as_correlation():
    rng, series = np.random.default_rng(1), np.zeros((60000, 2))
    for i, draw in enumerate(rng.standard_normal(series.shape)):
        series[i] = series[i - 1] * [0.9, -0.5] + draw
    expected = np.power([[0.9, -0.5]], np.arange(7)[:, None])
    np.testing.assert_allclose(latents.correlations([series + 3], 6), expected, atol=0.03)


def test_correlation_never_spans_files():
    one, other = np.tile([[1.0], [-1.0]], (50, 1)), np.tile([[-1.0], [1.0]], (50, 1))
    # Alternating signs correlate by -1; where the one file met the other there would be a +1.
    np.testing.assert_allclose(latents.correlations([one, other], 3)[:, 0], [1, -1, 1, -1], atol=1e-12)
    np.testing.assert_array_equal(latents.correlations([np.ones((9, 1))], 2), np.zeros((3, 1)))


# --- bits of a VQ ----------------------------------------------------------------------------------------


@pytest.fixture
def traces(tmp_path):
    """Traces of two stages of 16 entries whose variance halves with each bit, 0.1 after the first."""
    for stage in (1, 2):
        bits = np.arange(1, 5)
        variance = 0.2 * 0.5 ** (bits + 4 * (stage - 1))
        table = pd.DataFrame({"entries": 2**bits, "variance": variance, "iterations": 9})
        table.to_csv(tmp_path / f"{stage}.csv", index=False)
    return [str(tmp_path / f"{stage}.csv") for stage in (1, 2)]


def test_traces_of_stages_are_chained_behind_full_stages(traces):
    trace = shared.chained(traces)
    assert trace["bits"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert trace["stages"].tolist() == [1] * 4 + [2] * 4


def test_the_bits_for_a_noise_are_the_fewest_with_no_more_variance(made, traces):
    settings = made[1]["noise"] | {"traces": traces, "noise_vars": [0, 1e-4, 0.0126, 0.0125, 0.2, 0.02]}
    table = noise.tables(settings)["noise"].set_index("noise_var")
    # 0.2/16 = 0.0125 is the last size of the first stage, 0.2/256 = 0.00078 the least there is.
    np.testing.assert_array_equal(table["vq_bits"], [np.nan, np.nan, 4, 4, 1, 4])
    np.testing.assert_array_equal(table["vq_stages"], [np.nan, np.nan, 1, 1, 1, 1])
    np.testing.assert_array_equal(table["bit_per_s"], [np.nan, np.nan, 200, 200, 50, 200])


def test_the_bits_needed_are_interpolated_and_the_uniform_ones_those_of_theory(made, traces):
    needed = uniform_vq.tables(made[1]["uniform_vq"] | {"traces": traces})["needed"].set_index("variance")
    assert needed.loc[0.0015, "uniform_bits"] == pytest.approx(4 * 3.898, rel=1e-3)
    assert needed.loc[0.0015, "vq_bits"] == pytest.approx(np.log2(0.2 / 0.0015))
    assert np.isnan(needed.loc[3e-4, "vq_bits"])
    np.testing.assert_allclose(needed["saving_bits"], needed["uniform_bits"] - needed["vq_bits"])


# --- what studies find -----------------------------------------------------------------------------------


def test_distortion_grows_with_the_noise_and_starts_at_that_of_training(made):
    folder, kinds = made
    table = noise.tables(kinds["noise"])["noise"]
    last = pd.read_csv(folder / "small/losses.csv").iloc[-1]
    assert table["sd_held_out_dB2"][0] == pytest.approx(last["held_out_sd_dB2"], rel=1e-3)
    for column in ("sd_training_dB2", "sd_held_out_dB2"):
        assert (table[column].diff()[1:] > 0).all() and table[column].iloc[-1] > 2 * table[column][0]


def test_voices_held_out_are_what_a_study_measures_as_held_out(made, tmp_path):
    _, kinds = made
    records.write_f32(tmp_path / "b.f32", records_of(50, 3))
    plain = noise.tables(kinds["noise"])["noise"]
    table = noise.tables(kinds["noise"] | {"held_out_features": [str(tmp_path / "b.f32")]})["noise"]
    assert (table["sd_training_dB2"] == plain["sd_training_dB2"]).all()
    network, trained = inference.load(kinds["noise"]["weights"])
    b, b_hat = records_of(50, 3), inference.infer(network, trained, records_of(50, 3))
    assert table["sd_held_out_dB2"][0] == pytest.approx(np.mean(np.square(b - b_hat)[:, :20]), rel=1e-3)


@pytest.mark.parametrize("kind", ["noise", "latents"])
def test_a_network_that_takes_y_is_studied_on_y(made, kind):
    folder, kinds = made
    changes = {
        "weights": str(folder / "of_y/weights.safetensors"),
        "targets": [str(folder / f"y{i}.f32") for i in (0, 1)],
    }
    tables = studies.kinds()[kind].tables(kinds[kind] | changes)
    assert tables.keys() == studies.kinds()[kind].tables(kinds[kind]).keys()
    if kind == "noise":
        last = pd.read_csv(folder / "of_y/losses.csv").iloc[-1]
        assert tables["noise"]["sd_held_out_dB2"][0] == pytest.approx(last["held_out_sd_dB2"], rel=1e-3)


def test_another_threshold_is_of_the_vectors_and_not_of_the_network(made):
    settings = made[1]["noise"]
    everything, loud = (noise.tables(settings | {"thresh": thresh})["noise"] for thresh in (-100, 55))
    assert (everything["sd_training_dB2"] != loud["sd_training_dB2"]).all()


def test_the_uniform_quantiser_is_better_with_more_bits_and_the_VQ_with_more_stages(made):
    table = uniform_vq.tables(made[1]["uniform_vq"])["uniform_vq"]
    for _, part in table.groupby(["quantiser", "measured_on"]):
        assert part["bits_per_frame"].is_monotonic_increasing and part["variance"].is_monotonic_decreasing
    assert table["bits_per_frame"][table["quantiser"] == "uniform"].tolist() == [4, 4, 8, 8, 12, 12, 16, 16, 20, 20]
    vq_rows = table[table["quantiser"] == "vq"]
    assert vq_rows["bits_per_frame"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 4, 8]


def test_survivors_lower_the_error_of_two_stages_and_gains_are_on_one(made):
    table = mbest.tables(made[1]["mbest"])["mbest"].set_index(["stages", "mbest"])
    assert table.loc[1, "gain_dB"].abs().max() == 0
    two = table.loc[2]
    assert two.index.tolist() == [1, 2, 4, 16] and two["mse"].is_monotonic_decreasing
    np.testing.assert_allclose(two["gain_dB"], 10 * np.log10(two["mse"][1] / two["mse"]))


def test_the_stretch_is_where_the_energy_is(made, tmp_path):
    array = records_of(200, seed=4)
    array[120:150, :20] += 30
    records.write_f32(tmp_path / "b.f32", array)
    changes = {"features": [str(tmp_path / "b.f32")], "seconds": 0.3}
    tables = latents.tables(made[1]["latents"] | changes)
    np.testing.assert_allclose(tables["stretch"]["time_s"], np.arange(120, 150) / 100)
    expected = inference.encode(*inference.load(made[1]["latents"]["weights"]), array)[120:150]
    np.testing.assert_array_equal(tables["stretch"].iloc[:, 1:], expected)
    density = tables["histogram"].groupby("element")["density"].sum() * 2 / 40
    np.testing.assert_allclose(density, 1, rtol=1e-5)
    assert tables["pca"]["cumulative_share"].iloc[-1] == pytest.approx(1)


def test_each_network_stands_at_its_own_SNR_and_the_VQ_at_all(made):
    table = analog.tables(made[1]["analog"])["analog"].fillna({"trained": ""})
    rows = table.groupby(["scheme", "trained"])["snr_dB"].apply(list).to_dict()
    assert rows == {("analog", "plain"): [0, 5, 10], ("analog", "matched"): [5], ("digital", ""): [0, 5, 10]}
    difference = (table["snr_3000_dB"] - table["snr_dB"]).groupby(table["scheme"]).unique()
    assert difference["analog"] == pytest.approx(10 * np.log10(2 / 30))  # 2 symbols in 10 ms
    assert difference["digital"] == pytest.approx(10 * np.log10(4 / 30))  # 8 bits
    digital, plain = table[table["scheme"] == "digital"], table[table["trained"] == "plain"]
    assert digital["sd_dB2"].is_monotonic_decreasing and plain["sd_dB2"].is_monotonic_decreasing
    np.testing.assert_allclose(digital["bit_error_rate"], digital["bit_error_rate_theory"], atol=0.04)
    assert table["Es"].between(0, 1).all() and (digital["Es"] == 1).all()


def test_the_demo_s_distortion_is_that_of_its_frames(made):
    tables = demo.tables(made[1]["demo"])
    frames, shown = tables["frames"], tables["shown"]
    error = (shown["b_dB"] - shown["b_hat_dB"]) ** 2
    by_frame = error.groupby(shown["frame"]).mean()
    np.testing.assert_allclose(by_frame, frames["sd_dB2"][by_frame.index], rtol=1e-4)
    assert len(by_frame) == 2 and (frames["energy_dB"][by_frame.index] > 10).all()
    speech = frames[frames["energy_dB"] > 10]
    summary = tables["summary"].set_index("set")["sd_dB2"]
    assert summary["sample"] == pytest.approx(speech["sd_dB2"].mean(), rel=1e-5)
    assert summary["held_out"] == tables["losses"]["held_out_sd_dB2"].iloc[-1]
    np.testing.assert_allclose(shown["f_kHz"][:20], features.B_HZ / 1000)


# --- tables and figures ----------------------------------------------------------------------------------

ELEMENTS = [f"element_{i}" for i in (1, 2, 3, 4)]
COLUMNS = {
    "noise": {"noise": ["noise_var", "sd_training_dB2", "sd_held_out_dB2", "vq_bits", "vq_stages", "bit_per_s"]},
    "uniform_vq": {
        "uniform_vq": ["quantiser", "measured_on", "bits_per_frame", "variance"],
        "needed": ["variance", "uniform_bits", "vq_bits", "saving_bits"],
    },
    "latents": {
        "pca": ["component", "share", "cumulative_share"],
        "dimensions": ["share", "components"],
        "correlation": ["lag_frames", "lag_ms", "mean", *ELEMENTS],
        "stretch": ["time_s", *ELEMENTS],
        "histogram": ["element", "latent", "density"],
    },
    "mbest": {"mbest": ["stages", "mbest", "mse", "gain_dB"]},
    "analog": {
        "analog": [
            "scheme",
            "d",
            "trained",
            "snr_dB",
            "snr_3000_dB",
            "Es",
            "bit_error_rate",
            "bit_error_rate_theory",
            "sd_dB2",
        ],
    },
    "demo": {
        "losses": ["epoch", "lr", "loss", "sd_dB2", "held_out_loss", "held_out_sd_dB2"],
        "frames": ["frame", "time_s", "energy_dB", "sd_dB2"],
        "shown": ["frame", "f_kHz", "b_dB", "b_hat_dB"],
        "summary": ["set", "sd_dB2", "title"],
    },
}
EMPTY = {"vq_bits", "vq_stages", "bit_per_s", "saving_bits", "bit_error_rate", "bit_error_rate_theory"}
"""Columns that are empty where there is no such number."""


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.slow
def test_a_study_writes_its_tables_and_figures_that_follow_from_them_byte_by_byte(made, tmp_path, kind):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir(), other.mkdir()
    studies.make(json.loads(json.dumps(made[1][kind])), one)
    written = {path.name: path.read_bytes() for path in one.iterdir()}
    wavs = {"v_analog_d4_5dB.wav", "v_digital_vq8_5dB.wav"} if kind == "analog" else set()
    drawn = {f"{kind}.png", f"{kind}.svg"}
    assert written.keys() == {f"{name}.csv" for name in COLUMNS[kind]} | drawn | wavs | {"README.md"}
    tables = {name: pd.read_csv(one / f"{name}.csv") for name in COLUMNS[kind]}
    assert unexplained(written["README.md"].decode(), tables) == []
    assert written[f"{kind}.png"].startswith(b"\x89PNG") and b"<svg" in written[f"{kind}.svg"][:1000]
    for name, columns in COLUMNS[kind].items():
        table = pd.read_csv(one / f"{name}.csv")
        assert list(table) == columns and len(table)
        numbers = table[[column for column in columns if column not in EMPTY]].select_dtypes("number")
        assert np.isfinite(numbers.to_numpy()).all()
        (other / f"{name}.csv").write_bytes(written[f"{name}.csv"])
    for name in wavs:
        assert len(records.read_speech(one / name)) == 4800
    studies.draw(kind, other)
    assert {name: (other / name).read_bytes() for name in drawn} == {name: written[name] for name in drawn}


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_study_finds_the_same_numbers_twice(made, kind):
    tables, again = (studies.kinds()[kind].tables(made[1][kind]) for _ in range(2))
    for name, table in tables.items():
        pd.testing.assert_frame_equal(table, again[name], check_exact=True)


@pytest.mark.parametrize("variants", [0, 12])
def test_curves_are_drawn_for_any_number_of_variants(tmp_path, variants):
    rows = [(f"v{i}: lr {i}", epoch, (1 + i) / epoch) for i in range(variants) for epoch in range(1, 6)]
    pd.DataFrame(rows, columns=["variant", "epoch", "sd_dB2"]).to_csv(tmp_path / "losses.csv", index=False)
    figures.plot_curves(tmp_path / "losses.csv", "sd_dB2", "SD (dB²)", "auto_test", tmp_path / "losses.of.all")
    assert (tmp_path / "losses.of.all.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "losses.of.all.svg").read_bytes()[:1000]


def test_a_loss_curve_without_epochs_is_an_empty_figure(tmp_path):
    (tmp_path / "losses.csv").write_text("epoch,lr,loss,sd_dB2,held_out_loss,held_out_sd_dB2\n")
    figures.plot_losses(tmp_path / "losses.csv", "it failed", tmp_path / "losses.png")
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")


# --- bad input -------------------------------------------------------------------------------------------

REFUSED = {
    "a kind there is not": (
        "noise",
        {"kind": "quiet"},
        "'quiet', expected one of analog, bits",
    ),
    "no files": ("mbest", {"features": []}, "features: none"),
    "a lost file": ("mbest", {"features": ["none.f32"]}, "none.f32: no such file"),
    "no bottleneck": ("noise", {"weights": "manifold"}, "no bottleneck"),
    "latents of none": ("latents", {"weights": "manifold"}, "no bottleneck"),
    "y without its files": ("noise", {"weights": "of_y"}, "needs y"),
    "a demo of y": ("demo", {"weights": "manifold"}, "makes y_hat"),
    "too many frames": ("demo", {"frames": 1000}, "frames: found 1000"),
    "no trace": ("noise", {"traces": ["none.csv"]}, "none.csv: no such file"),
    "no trace either": ("uniform_vq", {"traces": ["small/losses.csv"]}, "variance"),
    "half a codebook": ("mbest", {"codebooks": ["odd"]}, "1301 bytes"),
    "an SNR without network": ("analog", {"wav_snr_dB": [7]}, "found 7, but no network of d 4"),
    "a setting that is not there": ("analog", {"bandwidth": None}, "have no 'bandwidth'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_line(made, tmp_path, monkeypatch, case):
    folder, kinds = made
    kind, changes, says = REFUSED[case]
    monkeypatch.chdir(folder)
    if changes.get("weights"):
        changes = {"weights": f"{changes['weights']}/weights.safetensors"}
    settings = {key: value for key, value in (kinds[kind] | changes).items() if value is not None}
    with pytest.raises(InputError) as error:
        studies.make(settings, tmp_path)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_codebooks_of_other_sizes_cannot_be_sent(made, tmp_path):
    settings = made[1]["analog"]
    codebook = records.read_f32(settings["quantiser"]["codebooks"][0], 4)
    records.write_f32(tmp_path / "q.f32", codebook[:8])
    quantiser = settings["quantiser"] | {"codebooks": [settings["quantiser"]["codebooks"][0], str(tmp_path / "q.f32")]}
    with pytest.raises(InputError, match=r"\[16, 8\] entries"):
        analog.tables(settings | {"networks": [], "quantiser": quantiser})


@pytest.mark.parametrize("content", [None, "", "a,b\n1,2\n", "\x00\xff"])
def test_a_table_that_cannot_be_drawn_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "losses.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"losses\.csv: ") as error:
        figures.plot_curves(tmp_path / "losses.csv", "sd_dB2", "SD", "", tmp_path / "x")
    assert "\n" not in str(error.value) and not list(tmp_path.glob("x*"))
    with pytest.raises(InputError, match="no such file"):
        studies.draw("noise", tmp_path)


def test_the_readme_of_a_sweep_can_explain_every_setting_of_a_network():
    about = sweep._about()
    assert [name for name in Network.model_fields if not about.get(name)] == []
