"""A whole codec: what its encoder and its decoder are made of, and the coding of speech with it.

A superframe of T frames of 10 ms is sent as one set of indices, its fields: pitch, voicing, energy and shape. All
functions take what comes piece by piece, so that a stream of any length needs as much memory as a superframe or a
chunk of a file, and gives the same bits and the same speech as the whole file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

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
from mlquant.vocoder.superframes import energies, together

VOCODER_MS = 26.125  # 209 samples: 50 of the high pass, 159 from the middle of a frame to its sound


@dataclass(frozen=True)
class Codec:
    """A codec; superframes have T = `frames` frames, voicing has a bit for each `voicing_ms`.

    The searches of shape and energy keep `paths` paths and decide `wait` superframes later. The floor of amplitudes in
    dB is that of the features.
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
        knots of pitch, decisions of the search, and the superframe after, which the network takes. The last bits of one
        that does not end with a byte come with the next.
        """
        superframes = 1 + self.wait + 1 + (self.bits % 8 > 0)
        ahead = superframes * self.frames + self.pitch.wait * self.pitch.frames
        return VOCODER_MS + 10.0 * ahead

    @property
    def bit_rate(self) -> float:
        """Bits a second."""
        return self.bits * SAMPLE_RATE / (FRAME * self.frames)


def of_model(model: Model, floor_dB: float) -> tuple[np.ndarray, np.ndarray]:
    """Shapes [F, 20] of b in dB, and the energy of y [F] in dB."""
    b, y = features.model_to_features(model, floor_dB)
    return without_gain(b), energies(features.energy_dB(y))


def voicing_bits(voiced: np.ndarray, energy: np.ndarray, frames: int) -> np.ndarray:
    """One bit [F / frames] for each `frames` frames: whether the louder of them are voiced; louder by 6 dB is 2."""
    weight = 10.0 ** (energy.astype(np.float64) / 20)
    signed = np.where(voiced > 0, weight, -weight).reshape(-1, frames)
    return (signed.sum(axis=1) > 0).astype(np.int64)


def encode(codec: Codec, chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield fields [n, fields] int64 of superframes, in the order of the layout, for chunks of int16 samples."""
    searches = [superframe.Search(quantiser, codec.paths, codec.wait) for quantiser in (codec.energy, codec.shape)]
    waiting = deque[np.ndarray]()  # voicing and pitch of the superframes that are not decided yet

    def decided(found: Iterable[Sequence[np.ndarray | None]]) -> Iterator[np.ndarray]:
        """Yield all fields of the superframes that both searches have decided: [fields] each."""
        for energy, shape in found:
            if energy is not None and shape is not None:
                yield np.concatenate([waiting.popleft(), energy[0], shape[0]])

    for knots, model in pitches.tracked(chunks, codec.pitch, codec.frames):
        shapes, energy = of_model(model, codec.floor_dB)
        count = len(model) // codec.frames
        marks = voicing_bits(model.voiced, energy, codec.voicing_frames)
        of_pitch = knots[:, : len(codec.pitch.fields)]
        waiting.extend(np.concatenate([marks.reshape(count, -1), of_pitch.reshape(count, -1)], axis=1))
        vectors = zip(energy.reshape(count, 1, -1), together(shapes, codec.frames)[:, None], strict=True)
        pushed = ([search.push(own) for search, own in zip(searches, each, strict=True)] for each in vectors)
        if found := [*decided(pushed)]:
            yield np.stack(found)
    if found := [*decided(zip(*(search.rest() for search in searches), strict=True))]:
        yield np.stack(found)


def records_of(
    codec: Codec, batches: Iterable[tuple[np.ndarray, np.ndarray]]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield Wo [n, T] and records [n, 23 T] for fields [n, fields] of superframes, and which of them are lost [n].

    A lost one has the prediction of energy and shape, pitch and voicing of the last frame before.
    """
    T, per, marks = codec.frames, codec.frames // codec.pitch.frames, codec.frames // codec.voicing_frames
    side = marks + per * len(codec.pitch.fields)
    decoders = superframe.Decoder(codec.energy), superframe.Decoder(codec.shape)
    in_energy = len(codec.energy.codebooks)
    level, last_voiced = None, 0
    for fields, lost in batches:
        Wos, made = [], []
        for row, gone in zip(fields, lost, strict=True):
            if gone:
                level = len(codec.pitch.levels) // 2 if level is None else level
                knots = np.tile([level, 0], (per, 1))
                log2_f0 = np.full(T, codec.pitch.levels[level])
                Wo = (2 * np.pi / SAMPLE_RATE * 2.0**log2_f0).astype(np.float32)
                voiced = np.full(T, last_voiced)
            else:
                knots = row[marks:side].reshape(per, -1)
                knots = np.pad(knots, ((0, 0), (0, 2 - knots.shape[1])))
                Wo = pitches.decoded(knots, codec.pitch, level)
                voiced = np.repeat(row[:marks], codec.voicing_frames)
            level, last_voiced = int(knots[-1, 0]), int(voiced[-1])
            indices = (None, None) if gone else (row[side : side + in_energy], row[side + in_energy :])
            energy, shapes = (one.push(own) for one, own in zip(decoders, indices, strict=True))
            log2_f0 = np.log2(Wo * (SAMPLE_RATE / (2 * np.pi)))
            Wos.append(Wo)
            made.append(context.record(shapes[None], energy[None], log2_f0[None], voiced[None])[0])
        if made:
            yield np.stack(Wos), np.stack(made)


def spectra(codec: Codec, sent: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[Model, np.ndarray]]:
    """Yield models without amplitudes, and y_hat [n T, 79] in dB, for Wo [n, T] and records [n, 23 T].

    Each superframe waits for the one after it.
    """
    wos, kept = None, None
    for Wo, made in sent:
        if kept is None:
            wos, kept = Wo[:0], made[:1]  # the first has itself before it
        wos, kept = np.concatenate([wos, Wo]), np.concatenate([kept, made])
        if len(kept) > 2:
            yield _with_spectra(codec, wos[:-1], kept)
            wos, kept = wos[-1:], kept[-2:]
    if kept is not None:
        yield _with_spectra(codec, wos, np.concatenate([kept, kept[-1:]]))


def _with_spectra(codec: Codec, Wo: np.ndarray, around: np.ndarray) -> tuple[Model, np.ndarray]:
    """Model and y_hat of superframes, given their pitch [n, T] and records [n + 2, 23 T] with one before and after."""
    y_hat = context.spectra(codec.layers, around[:-2], around[1:-1], around[2:])
    voiced = around[1:-1, 22 * codec.frames :].ravel().astype(np.int32)
    Wo = Wo.ravel()
    L = np.floor(np.pi / Wo.astype(np.float64)).astype(np.int32)
    L -= Wo * L >= 0.95 * np.pi
    nothing = np.zeros((len(Wo), 161), np.float32)
    return Model(Wo, L, nothing, nothing, voiced), y_hat


def decode(codec: Codec, batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[np.ndarray]:
    """Yield speech int16 for fields [n, fields] of superframes, and which of them are lost [n]."""
    return spoken(codec, records_of(codec, batches))


def spoken(codec: Codec, sent: Iterable[tuple[np.ndarray, np.ndarray]]) -> Iterator[np.ndarray]:
    """Yield speech int16 for Wo [n, T] and records [n, 23 T] of superframes."""

    def filtered() -> Iterator[tuple[Model, np.ndarray]]:
        for model, y_hat in spectra(codec, sent):
            sharp = y_hat if codec.postfilter == 1 else decoder.postfiltered(y_hat, codec.postfilter)
            A = features.envelope_to_amplitudes(sharp, model.Wo, model.L)
            yield replace(model, A=A), features.envelope_to_phase_filter(y_hat, model.Wo, model.L)

    return synthesis.synthesise_in_chunks(synthesis.phase0_in_chunks(filtered()))
