"""A codec over arrays and files: a stream is the whole file, the decoder needs the stream alone."""

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from support.codecs import coded, sent_pitch, small_codec, write_small_codec

from mlquant.codecs import bitstream, files, trials
from mlquant.codecs import codec as codecs
from mlquant.core.errors import InputError
from mlquant.core.records import joined
from mlquant.measures.measures import DELAY
from mlquant.networks import context
from mlquant.quantisers import superframe
from mlquant.vocoder.pitch import tracked
from mlquant.vocoder.superframes import apart, beside, together, voicing_bits

CODECS = {
    "40 ms": {},
    "waiting": {"wait": 2, "paths": 8},
    "80 ms": {"frames": 8, "pitch": sent_pitch(every_ms=80), "voicing_ms": 40},
    "plain pitch": {"frames": 4, "pitch": sent_pitch(every_ms=20, offsets=[]), "wait": 1},
}


@pytest.fixture(params=CODECS, scope="module")
def codec(request):
    return small_codec(**CODECS[request.param])


def fields_of(codec, chunks):
    return np.concatenate([*codecs.encode(codec, chunks)])


def speech_of(codec, fields, lost=None, batch=1000):
    lost = np.zeros(len(fields), bool) if lost is None else lost
    batches = ((fields[i : i + batch], lost[i : i + batch]) for i in range(0, len(fields), batch))
    return np.concatenate([*codecs.decode(codec, batches)])


def test_a_stream_has_the_bits_and_the_speech_of_the_file(codec, voice):
    whole = fields_of(codec, [voice])
    assert np.array_equal(fields_of(codec, (voice[i : i + 80] for i in range(0, len(voice), 80))), whole)
    cuts = np.cumsum(np.random.default_rng(2).integers(1, 3000, 20))
    assert np.array_equal(fields_of(codec, np.split(voice, cuts[cuts < len(voice)])), whole)
    speech = speech_of(codec, whole)
    assert np.array_equal(speech_of(codec, whole, batch=1), speech)
    assert np.array_equal(speech_of(codec, whole, batch=7), speech)
    assert np.array_equal(coded(codec, voice), speech)
    assert len(speech) == len(whole) * codec.frames * 80 and 0 <= len(speech) - len(voice) < codec.frames * 80


def test_the_fields_have_the_bits_of_the_layout(codec, voice):
    fields = fields_of(codec, [voice])
    assert fields.shape[1] == len(codec.layout) and fields.min() >= 0
    assert (fields.max(axis=0) < 1 << np.array([bits for _, bits in codec.layout])).all()
    assert codec.bit_rate == codec.bits * 100 / codec.frames


def test_the_delay_is_the_one_that_is_stated(codec, voice):
    """Played with a constant delay, a sample comes as late after its source as the codec says, and no later."""
    given, when = 0, []

    def chunks():
        nonlocal given
        for i in range(0, len(voice), 80):
            given = i + 80
            yield voice[i : i + 80]

    widths = [bits for _, bits in codec.layout]
    data = bitstream.packed(codecs.encode(codec, chunks()), widths)
    pieces = (bytes([byte]) for part in data for byte in part)
    received = (bitstream.from_bits(bits, widths) for bits in bitstream.unpacked(pieces, widths, "x"))
    for speech in codecs.decode(codec, ((fields, np.zeros(len(fields), bool)) for fields in received)):
        when += [given] * len(speech)
    late = np.array(when) - (np.arange(len(when)) - DELAY)
    assert late[: len(voice) // 2].max() / 8 == codec.delay_ms


def test_a_codec_is_read_as_it_was_written(codec, tmp_path, voice):
    costs = np.random.default_rng(0).uniform(0, 1, codec.bits)
    files.write(tmp_path / "c", codec, {"name": "c"}, costs)
    assert {path.name for path in (tmp_path / "c").iterdir()} == {"codec.json", "tables.safetensors"}
    again, codec_hash = files.read(tmp_path / "c")
    assert files.read(tmp_path / "c/codec.json")[1] == codec_hash
    assert np.array_equal(fields_of(again, [voice[:8000]]), fields_of(codec, [voice[:8000]]))
    told = json.loads((tmp_path / "c/codec.json").read_text())
    assert (told["hash"], told["bits"], told["bit_rate"]) == (codec_hash, codec.bits, codec.bit_rate)
    assert [one["bit"] for one in told["sensitivity"]] == np.argsort(-costs).tolist()
    assert sum(one["share"] for one in told["sensitivity"]) == pytest.approx(1, abs=0.01)
    assert sum(field["bits"] for field in told["layout"]) == codec.bits and told["delay_ms"] == codec.delay_ms


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda told: told["settings"].update(postfilter=1.3), "the files have the hash"),
        (lambda told: told.pop("settings"), "'settings' is missing"),
        (lambda told: told.update(settings=[]), "the files have the hash"),
    ],
)
def test_a_codec_that_was_changed_is_refused(tmp_path, change, line):
    folder = write_small_codec(tmp_path / "c")
    told = json.loads((folder / "codec.json").read_text())
    change(told)
    (folder / "codec.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match=f"c: is no codec written by mlquant .*{line}"):
        files.read(folder)
    (folder / "codec.json").unlink()
    with pytest.raises(InputError, match=r"c: has no codec\.json, expected the folder of a codec"):
        files.read(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("voicing_ms", 0),
        ("paths", 10**9),
        ("paths", "x"),
        ("wait", 2.5),
        ("postfilter", None),
        ("floor_dB", "x"),
        ("frames", 3),
    ]
    + [
        ("pitch", pitch)
        for pitch in ({"every_ms": 0}, {"bits": 40}, {"lowest": 0}, {"highest": 1e9}, {"offsets": [0.1]}, [])
    ],
)
def test_settings_that_no_codec_has_are_refused_in_one_line(tmp_path, key, value):
    folder = write_small_codec(tmp_path / "c")
    told = json.loads((folder / "codec.json").read_text())
    told["settings"][key] = told["settings"][key] | value if isinstance(value, dict) else value
    told["hash"] = files.hash_of(told["settings"], (folder / "tables.safetensors").read_bytes())
    (folder / "codec.json").write_text(json.dumps(told))
    with pytest.raises(InputError) as error:
        files.read(folder)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


def test_tables_that_no_codec_has_are_refused(tmp_path):
    folder = write_small_codec(tmp_path / "c")
    tables = safetensors.numpy.load((folder / "tables.safetensors").read_bytes())
    for name, other in (
        ("energy.predictor", 2 * np.eye(4, dtype=np.float32)),
        ("energy.codebook1", tables["energy.codebook1"].astype(np.float64)),
        ("shape.codebook1", tables["shape.codebook1"][:31]),
        ("network.weight1", np.full_like(tables["network.weight1"], 1e30)),
        ("network.more", np.zeros(3, np.float32)),
        ("shape.mean", np.zeros(3, np.float32)),
    ):
        told = json.loads((folder / "codec.json").read_text())
        data = safetensors.numpy.save(tables | {name: other})
        (folder / "tables.safetensors").write_bytes(data)
        told["hash"] = files.hash_of(told["settings"], data)
        (folder / "codec.json").write_text(json.dumps(told))
        with pytest.raises(InputError, match="c: is no codec written by mlquant"):
            files.read(folder)


def test_a_codec_of_8_bits_is_a_quarter_as_large(tmp_path, voice):
    small = small_codec(eight_bit=True)
    for name, codec in (("small", small), ("large", replace(small, eight_bit=False))):
        files.write(tmp_path / name, codec, {"name": name})
    tables = {name: (tmp_path / name / "tables.safetensors").read_bytes() for name in ("small", "large")}
    assert len(tables["small"]) < 0.5 * len(tables["large"])
    stored = safetensors.numpy.load(tables["small"])
    assert {table.dtype.name for table in stored.values() if table.ndim == 2 and len(table) > 1} >= {"int8"}
    again, _ = files.read(tmp_path / "small")
    assert np.allclose(again.shape.codebooks[0], small.shape.codebooks[0], rtol=1e-6)
    fields = fields_of(again, [voice])
    speech, off = speech_of(small, fields), speech_of(again, fields).astype(int) - speech_of(small, fields)
    assert np.abs(off).max() <= 2 < np.abs(speech).max()


def test_lost_superframes_are_concealed(codec, voice):
    fields = fields_of(codec, [voice])
    lost = np.arange(len(fields)) % 5 == 3
    speech = speech_of(codec, fields, lost)
    garbage = fields.copy()
    garbage[lost] = 0
    assert np.array_equal(speech_of(codec, garbage, lost), speech)  # nothing of a lost superframe is looked at
    assert len(speech) == len(speech_of(codec, fields))
    assert np.array_equal(speech_of(codec, fields, lost, batch=1), speech)
    assert np.array_equal(speech_of(codec, fields, lost, batch=3), speech)
    assert speech_of(codec, fields, np.ones(len(fields), bool)).dtype == np.int16


def test_speech_fades_where_much_is_lost(codec, voice):
    fields = np.tile(fields_of(codec, [voice]), (3, 1))
    lost = np.arange(len(fields)) >= len(fields) // 2
    speech = speech_of(codec, fields, lost).astype(float).reshape(len(fields), -1)
    level = 10 * np.log10(np.square(speech).mean(axis=1) + 1e-3)
    first = len(fields) // 2
    assert level[first + 8 :].max() < level[: first - 1].mean() - 50 and level[first] > level[first + 4] + 20


def test_what_is_lost_lies_on_lines_between_what_is_around_it(codec):
    T, knot = codec.frames, codec.pitch.frames
    rng = np.random.default_rng(1)

    def frames(level, log2_f0):
        side = (np.full((1, T), level), np.full((1, T), log2_f0), np.ones((1, T)))
        shape = together(np.tile(level / 10 * np.cos(np.arange(20)), (T, 1)), T)
        return context.record(shape, *(each.astype(np.float32) for each in side))[0]

    before, after = frames(40, 7), frames(60, 8)
    records = np.stack([before, before, rng.normal(0, 9, 23 * T).astype(np.float32), after, after])
    Wo = np.full((4, T), 0.1, np.float32)
    codecs._with_spectra(codec, Wo, records, np.array([False, True, False, False]))
    line = (np.arange(T) + 1) / (T + 1)
    np.testing.assert_allclose(records[2, 20 * T : 21 * T], 40 + 20 * line, rtol=1e-5)
    expected = np.outer(4 + 2 * line, np.cos(np.arange(20)))
    np.testing.assert_allclose(apart(records[2:3, : 20 * T], T), expected, atol=1e-4)
    log2_f0 = np.concatenate([records[2, 21 * T : 22 * T], records[3, 21 * T : 22 * T]])
    np.testing.assert_allclose(log2_f0[: T + knot], 7 + (np.arange(T + knot) + 1) / (T + knot), rtol=1e-5)
    assert (log2_f0[T + knot :] == 8).all() and np.array_equal(records[[0, 1, 4]], np.stack([before, before, after]))
    np.testing.assert_allclose(np.log2(4000 / np.pi * Wo[1:3].ravel()[: T + knot]), log2_f0[: T + knot], rtol=1e-5)
    assert (Wo[[0, 3]] == np.float32(0.1)).all()


def test_any_bits_give_speech(codec):
    rng = np.random.default_rng(0)
    widths = [bits for _, bits in codec.layout]
    speech = speech_of(codec, bitstream.from_bits(rng.integers(0, 2, (300, codec.bits)).astype(np.uint8), widths))
    assert speech.dtype == np.int16 and len(speech) == 300 * codec.frames * 80


@pytest.mark.filterwarnings("error")
def test_bits_that_no_encoder_sends_overflow_nothing():
    codec = small_codec()
    energy = replace(
        codec.energy, predictor=0.95 * np.eye(4, dtype=np.float32), codebooks=[np.float32([[-60] * 4, [60] * 4])]
    )
    codec = replace(codec, energy=energy)
    fields = np.zeros((300, len(codec.layout)), np.int64)
    fields[100:200, [name for name, _ in codec.layout].index("energy 1")] = 1
    speech = speech_of(codec, fields)
    assert not speech[50 * 320 : 100 * 320].any() and speech[150 * 320 : 200 * 320].max() > 20000


@pytest.mark.parametrize("speech", [np.zeros(4000, np.int16), np.full(900, 32767, np.int16), np.ones(1, np.int16)])
def test_silence_clipping_and_a_single_sample_are_coded(speech):
    codec = small_codec()
    assert len(coded(codec, speech)) == -(-len(speech) // 320) * 320
    assert [*codecs.encode(codec, [np.zeros(0, np.int16)])] == []


def test_voicing_follows_the_louder_frames():
    voiced, energy = np.array([1, 1, 0, 0, 1, 0, 0, 0]), np.array([60, 20, 40, 40, 60, 60.5, 0, 0.0])
    assert voicing_bits(voiced, energy, 4).tolist() == [1, 0]
    assert voicing_bits(voiced, energy, 2).tolist() == [1, 0, 0, 0]


def test_spectra_have_the_energy_that_is_sent():
    codec = small_codec()
    rng = np.random.default_rng(1)
    energy = rng.uniform(10, 80, (6, 4))
    own = context.record(rng.normal(0, 5, (6, 80)), energy, np.full((6, 4), 7.0), np.ones((6, 4)))
    y_hat = context.spectra(codec.layers, own, own, own)
    found = 10 * np.log10((10 ** (y_hat.astype(float) / 10)).sum(axis=1))
    assert np.allclose(found, energy.ravel(), atol=0.01)
    alone = context.spectra(codec.layers, own[3:4], own[3:4], own[3:4])
    assert np.array_equal(alone, y_hat[12:16])  # however many superframes come together


def test_shapes_are_chosen_by_loudness(voice):
    """What a decoder makes of the shapes is nearer to the speech in loudness than the nearest shapes are."""
    codec = small_codec(paths=16)
    model = joined([model for _, model in tracked([voice], codec.pitch, codec.frames)])
    records, y = codecs.of_model(model, codec)
    known = beside(*np.split(records[:, 80:], 3, axis=1))

    def error(choose):
        own = records.copy()
        found = superframe.search(codec.shape, records[:, :80], codec.paths, 0, known, choose)
        own[:, :80] = superframe.decode(codec.shape, found, known)
        sent = (model.Wo.reshape(-1, 4), own, np.zeros(len(own), bool))
        y_hat = np.concatenate([hat for _, hat in codecs.spectra(codec, [sent])])
        return np.square(context.loudness(y_hat) - context.loudness(y)).mean()

    choice = codecs.Choice(codec)
    for own, spectra in zip(records, y.reshape(-1, 4, 79), strict=True):
        choice.expect(own, spectra)
    assert error(choice) < 0.95 * error(None)
    assert not choice.waiting


def test_trials_without_errors_are_the_codec_itself(codec, voice):
    speech = coded(codec, voice)
    assert np.array_equal(trials.with_errors(codec, voice, 0, 0, 1), speech)
    assert np.array_equal(trials.with_exact(codec, voice, []), speech)


@pytest.mark.parametrize("exact", ["pitch", "voicing", "energy", "shape"])
def test_what_is_not_quantised_is_as_it_was(voice, exact):
    codec = small_codec()
    speech = trials.with_exact(codec, voice, [exact])
    assert len(speech) == len(coded(codec, voice)) and not np.array_equal(speech, coded(codec, voice))


def test_high_bits_cost_more_than_low_ones(voice):
    codec = small_codec()
    costs = dict(
        zip(
            (f"{name}.{i}" for name, bits in codec.layout for i in range(bits)),
            trials.bit_costs(codec, voice),
            strict=True,
        )
    )
    assert len(costs) == codec.bits and min(costs.values()) >= 0
    assert costs["energy 1.0"] > costs["energy 1.3"] and costs["pitch 1 knot.0"] > costs["pitch 1 knot.5"]
