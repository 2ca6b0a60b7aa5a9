"""A whole codec: what its encoder and its decoder are made of, and the coding of speech with it.

A superframe of T frames of 10 ms is sent as one set of indices, its fields: pitch, voicing, energy and shape. All
functions take what comes piece by piece, so that a stream of any length needs as much memory as a superframe or a
chunk of a file, and gives the same bits and the same speech as the whole file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

import numpy as np

from mlquant.core.records import FRAME, SAMPLE_RATE, Model
from mlquant.networks import context
from mlquant.networks.dense import Layers
from mlquant.quantisers import superframe
from mlquant.quantisers.gain import without_gain
from mlquant.quantisers.superframe import Superframes
from mlquant.vocoder import decoder, features, synthesis
from mlquant.vocoder import pitch as pitches
from mlquant.vocoder.pitch import Pitch
from mlquant.vocoder.superframes import SENT, apart, beside, side_of, together

FADE_dB = 10.0  # by which each superframe is quieter that is lost after a lost one
VOCODER_MS = 26.125  # 209 samples: 50 of the high pass, 159 from the middle of a frame to its sound


@dataclass(frozen=True)
class Codec:
    """A codec; superframes have T = `frames` frames, voicing has a bit for each `voicing_ms`.

    The searches of shape and energy keep `paths` paths and decide `wait` superframes later. The floor of amplitudes in
    dB is that of the features. With `eight_bit` its tables are written with 8 bits a number.
    """

    frames: int
    voicing_ms: int
    pitch: Pitch
    energy: Superframes
    shape: Superframes
    layers: Layers
    paths: int
    wait: int
    postfilter: float
    floor_dB: float
    eight_bit: bool = False

    @property
    def voicing_frames(self) -> int:
        """Frames that one bit of voicing stands for."""
        return self.voicing_ms // 10

    @cached_property
    def layout(self) -> list[tuple[str, int]]:
        """The fields of a superframe, by name and bits, in the order in which they are sent."""
        fields = [(f"voicing {i + 1}", 1) for i in range(self.frames // self.voicing_frames)]
        for i in range(self.frames // self.pitch.frames):
            fields += [(f"pitch {i + 1} {name}", bits) for name, bits in self.pitch.fields]
        for name, quantiser in (("energy", self.energy), ("shape", self.shape)):
            for i, codebook in enumerate(quantiser.codebooks):
                fields.append((f"{name} {i + 1}", (len(codebook) - 1).bit_length()))
        return fields

    @property
    def bits(self) -> int:
        """Bits of a superframe."""
        return sum(bits for _, bits in self.layout)

    @property
    def delay_ms(self) -> float:
        """The algorithmic delay in ms, from a sample that is spoken to the same one that is heard.

        26 ms are of the vocoder: of its filter, its analysis window and its synthesis. A superframe is waited for, and
        knots of pitch, decisions on energy and then on shape, and the superframe after, which the network takes. The
        last bits of one that does not end with a byte come with the next.
        """
        superframes = 1 + 2 * self.wait + 1 + (self.bits % 8 > 0)
        ahead = superframes * self.frames + self.pitch.wait * self.pitch.frames
        return VOCODER_MS + 10.0 * ahead

    @property
    def rate(self) -> float:
        """Superframes a second."""
        return SAMPLE_RATE / (FRAME * self.frames)

    @property
    def bit_rate(self) -> float:
        """Bits a second."""
        return self.bits * self.rate

    @property
    def matrices(self) -> list[np.ndarray]:
        """Those that a decoder multiplies with once for each superframe: predictors, and layers of networks."""
        return [self.energy.predictor, self.shape.predictor, *(W for W, _ in [*self.layers, *self.shape.layers])]

    @property
    def multiplications(self) -> float:
        """Multiplications a second by a decoder's matrices."""
        return sum(W.size for W in self.matrices) * self.rate

    def table_bytes(self, eight_bit: bool) -> int:
        """Bytes of all tables, with 32 bits a number, or with 8 bits and scales of 32."""
        books = [*self.energy.codebooks, *self.shape.codebooks]
        vectors = [self.energy.mean, self.shape.mean, *(b for _, b in [*self.layers, *self.shape.layers])]
        numbers, floats = (sum(each.size for each in some) for some in ([*self.matrices, *books], vectors))
        if not eight_bit:
            return 4 * (numbers + floats)
        scales = sum(len(W) for W in self.matrices) + sum(book.shape[1] for book in books)
        return numbers + 4 * (floats + scales)


def of_model(model: Model, codec: Codec) -> tuple[np.ndarray, np.ndarray]:
    """Records [n, 23 T] of superframes with nothing but pitch and voicing as they are sent, and y [n T, 79] in dB."""
    b, y = features.model_to_features(model, codec.floor_dB)
    side = side_of(model.Wo, model.voiced, y, codec.frames, codec.voicing_frames)
    return context.record(together(without_gain(b), codec.frames), *side), y


def _beside(record: np.ndarray, T: int) -> np.ndarray:
    """What is known beside the shapes [n, 2 T + 3] of records [n, 23 T]."""
    return beside(*np.split(record[:, 20 * T :], 3, axis=1))


class Choice:
    """Chooses among the paths of a search of shapes: that whose superframe is decoded with the least error of loudness.

    `expect` is told of each superframe, before the search: its record [23 T] with the exact shape, and y [T, 79] in dB.
    Errors of the energy that is sent are left out. The superframe after, where the search has not seen it yet, is taken
    to be what the shape's own prediction would be of one with the same energy, pitch and voicing.
    """

    def __init__(self, codec: Codec):
        self.codec = codec
        self.before: np.ndarray | None = None
        self.waiting = deque[tuple[np.ndarray, np.ndarray]]()

    def expect(self, record: np.ndarray, y: np.ndarray) -> None:
        sent = record[20 * self.codec.frames : 21 * self.codec.frames]
        self.waiting.append((record, y + (sent - features.energy_dB(y))[:, None]))

    def __call__(self, paths: np.ndarray) -> int:
        """The path to take, of vectors [P, 1 or more, K] of the superframe that waits the longest, and those after."""
        codec, (record, y) = self.codec, self.waiting.popleft()
        own = self._records(record, paths[:, 0])
        if paths.shape[1] > 1:
            after = self._records(self.waiting[0][0], paths[:, 1])
        else:
            known = _beside(record[None], codec.frames)
            mean = codec.shape.mean
            after = self._records(record, codec.shape.predicted(paths[None, :, 0] - mean, known, known)[0] + mean)
        before = own if self.before is None else np.broadcast_to(self.before, own.shape)
        y_hat = context.spectra(codec.layers, before, own, after).reshape(len(own), -1)
        errors = np.square(context.loudness(y_hat) - context.loudness(y.reshape(1, -1))).mean(axis=1)
        best = int(errors.argmin())
        self.before = own[best]
        return best

    def _records(self, record: np.ndarray, shapes: np.ndarray) -> np.ndarray:
        """Records [P, 23 T] that have other shapes [P, 20 T] than the record [23 T]."""
        return np.concatenate([shapes, np.repeat(record[None, shapes.shape[1] :], len(shapes), axis=0)], axis=1)


def encode(codec: Codec, chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield fields [n, fields] int64 of superframes, in the order of the layout, for chunks of int16 samples.

    The energy is decided first, as the shape's prediction depends on it.
    """
    T, choice = codec.frames, Choice(codec)
    energies = superframe.Search(codec.energy, codec.paths, codec.wait)
    shapes = superframe.Search(codec.shape, codec.paths, codec.wait, choose=choice)
    sent_energy = superframe.Decoder(codec.energy)
    # Of superframes whose energy or shape is not decided yet: record and y; voicing, pitch and, later, energy.
    waiting, fields = deque[tuple[np.ndarray, np.ndarray]](), deque[list[np.ndarray]]()
    of_energy = deque[np.ndarray]()

    def with_shape(found: np.ndarray | None) -> Iterator[np.ndarray]:
        if found is not None:
            yield np.concatenate([*fields.popleft(), of_energy.popleft(), found[0]])

    def with_energy(found: np.ndarray | None) -> Iterator[np.ndarray]:
        if found is not None:
            record, y = waiting.popleft()
            record[20 * T : 21 * T] = sent_energy.push(found[0])
            of_energy.append(found[0])
            choice.expect(record, y)
            yield from with_shape(shapes.push(record[None, : 20 * T], _beside(record[None], T)))

    def decided() -> Iterator[Iterator[np.ndarray]]:
        for knots, model in pitches.tracked(chunks, codec.pitch, T):
            records, y = of_model(model, codec)
            count = len(records)
            marks = records[:, 22 * T :: codec.voicing_frames].astype(np.int64)
            of_pitch = knots[:, : len(codec.pitch.fields)].reshape(count, -1)
            fields.extend(zip(marks, of_pitch, strict=True))
            waiting.extend(zip(records, y.reshape(count, T, -1), strict=True))
            yield chain.from_iterable(with_energy(energies.push(row[None, 20 * T : 21 * T])) for row in records)
        yield chain.from_iterable(map(with_energy, energies.rest()))
        yield chain.from_iterable(map(with_shape, shapes.rest()))

    for each in decided():
        if rows := [*each]:
            yield np.stack(rows)


Sent = Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Wo [n, T], records [n, 23 T], and which are lost [n], of superframes."""


def records_of(codec: Codec, batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> Sent:
    """Yield what is sent for fields [n, fields] of superframes, and which of them are lost [n].

    A lost one has the prediction of energy and shape, pitch and voicing of the last frame before; speech fades if
    several are lost.
    """
    T, per, marks = codec.frames, codec.frames // codec.pitch.frames, codec.frames // codec.voicing_frames
    end = marks + per * len(codec.pitch.fields)
    decoders = superframe.Decoder(codec.energy), superframe.Decoder(codec.shape)
    in_energy = len(codec.energy.codebooks)
    level, last_voiced, missing = None, 0, 0
    for fields, lost in batches:
        Wos, made = [], []
        for row, gone in zip(fields, lost, strict=True):
            missing = missing + 1 if gone else 0
            if gone:
                level = len(codec.pitch.levels) // 2 if level is None else level
                knots = np.tile([level, 0], (per, 1))
                Wo = pitches.Wo_of(np.full(T, codec.pitch.levels[level]))
                voiced = np.full(T, last_voiced)
            else:
                knots = row[marks:end].reshape(per, -1)
                knots = np.pad(knots, ((0, 0), (0, 2 - knots.shape[1])))
                Wo = pitches.decoded(knots, codec.pitch, level)
                voiced = np.repeat(row[:marks], codec.voicing_frames)
            level, last_voiced = int(knots[-1, 0]), int(voiced[-1])
            indices = (None, None) if gone else (row[end : end + in_energy], row[end + in_energy :])
            energy = np.clip(decoders[0].push(indices[0]) - FADE_dB * max(missing - 1, 0), *SENT)
            side = (energy, np.log2(Wo * (SAMPLE_RATE / (2 * np.pi))), voiced)
            side = [one[None].astype(np.float32) for one in side]
            shape = decoders[1].push(indices[1], beside(*side)[0])
            Wos.append(Wo)
            made.append(context.record(shape[None], *side)[0])
        if made:
            yield np.stack(Wos), np.stack(made), np.array(lost, bool)


def spectra(codec: Codec, sent: Sent) -> Iterator[tuple[Model, np.ndarray]]:
    """Yield models without amplitudes, and y_hat [n T, 79] in dB, for what is sent.

    Each superframe waits for the one after it. If that is there, a lost one lies on lines between those around it.
    """
    wos, kept, gone = None, None, None
    for Wo, made, lost in sent:
        if kept is None:
            wos, kept, gone = Wo[:0], made[:1], lost[:0]  # the first has itself before it
        wos, kept, gone = np.concatenate([wos, Wo]), np.concatenate([kept, made]), np.concatenate([gone, lost])
        if len(kept) > 2:
            yield _with_spectra(codec, wos, kept, gone)
            wos, kept, gone = wos[-1:], kept[-2:], gone[-1:]
    if kept is not None:
        ends = (np.concatenate([each, each[-1:]]) for each in (wos, kept, gone))
        yield _with_spectra(codec, *ends)


def _with_spectra(codec: Codec, Wo: np.ndarray, records: np.ndarray, lost: np.ndarray) -> tuple[Model, np.ndarray]:
    """Model and y_hat of all superframes but the first and the last of records [n + 2, 23 T].

    Wo [n + 1, T] and which are lost [n + 1] are those of all but the first. What makes up for lost ones is changed in
    place; the superframe before a lost one was decoded before that.
    """
    as_they_came = records[2:].copy()
    for i in np.flatnonzero(lost[:-1] & ~lost[1:]):
        _make_up(codec, Wo[i : i + 2], *records[i : i + 3])
    after = np.where(lost[1:, None], as_they_came, records[2:])
    y_hat = context.spectra(codec.layers, records[:-2], records[1:-1], after)
    voiced = records[1:-1, 22 * codec.frames :].ravel().astype(np.int32)
    Wo = Wo[:-1].ravel()
    L = np.floor(np.pi / Wo.astype(np.float64)).astype(np.int32)
    L -= Wo * L >= 0.95 * np.pi
    nothing = np.zeros((len(Wo), 161), np.float32)
    return Model(Wo, L, nothing, nothing, voiced), y_hat


def _make_up(codec: Codec, Wo: np.ndarray, before: np.ndarray, own: np.ndarray, after: np.ndarray) -> None:
    """Put a lost superframe `own`, and the pitch `after` it up to a knot, on lines between the frames around.

    Records are [23 T] each; Wo [2, T] is that of the lost superframe and of the one after.
    """
    T, knot = codec.frames, codec.pitch.frames
    part = ((np.arange(T) + 1) / (T + 1)).astype(np.float32)
    first, last = after[20 * T], before[21 * T - 1]
    own[20 * T : 21 * T] = last + (first - last) * part
    first, last = apart(after[None, : 20 * T], T)[0], apart(before[None, : 20 * T], T)[-1]
    own[: 20 * T] = together(last + (first - last) * part[:, None], T)[0]
    part = ((np.arange(T + knot) + 1) / (T + knot)).astype(np.float32)
    first, last = after[21 * T + knot - 1], before[22 * T - 1]
    log2_f0 = last + (first - last) * part
    own[21 * T : 22 * T], after[21 * T : 21 * T + knot] = log2_f0[:T], log2_f0[T:]
    Wo.ravel()[: T + knot] = pitches.Wo_of(log2_f0.astype(np.float64))


def decode(codec: Codec, batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[np.ndarray]:
    """Yield speech int16 for fields [n, fields] of superframes, and which of them are lost [n]."""
    return spoken(codec, records_of(codec, batches))


def spoken(codec: Codec, sent: Sent) -> Iterator[np.ndarray]:
    """Yield speech int16 for what is sent."""

    def filtered() -> Iterator[tuple[Model, np.ndarray]]:
        for model, y_hat in spectra(codec, sent):
            sharp = y_hat if codec.postfilter == 1 else decoder.postfiltered(y_hat, codec.postfilter)
            A = features.envelope_to_amplitudes(sharp, model.Wo, model.L)
            yield replace(model, A=A), features.envelope_to_phase_filter(y_hat, model.Wo, model.L)

    return synthesis.synthesise_in_chunks(synthesis.phase0_in_chunks(filtered(), gradual=True))
