"""Trained networks at work: features to latents, latents to features, or straight through.

A network's output is restored to dB: networks trained on energy-normalised vectors get the energy of the
features (or, for y_hat, of the true y) put back; it is passed on unquantised. For y_hat the voicing input is
forced to 1, as manifold networks are trained on voiced frames only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlquant.core.errors import InputError
from mlquant.networks import dense
from mlquant.networks.dense import Dense
from mlquant.networks.inputs import network_inputs
from mlquant.networks.rows import latent_width, row_of
from mlquant.vocoder.features import energy_dB

if TYPE_CHECKING:
    from mlquant.networks.model import AtWork


def load(weights: str | Path) -> tuple[Dense | AtWork, dict]:
    """Network and settings of a weights.safetensors file; InputError when mlquant did not write it.

    InputError is also raised where the training failed. The network maps arrays to arrays with `encode` and `decode`,
    and has its `row`.
    """
    return dense.load(weights, at_work)


def at_work(settings: dict, state: dict[str, np.ndarray]) -> Dense | AtWork:
    """Return the network of these settings and tensors: run by numpy if it has dense layers only, else by torch."""
    if not row_of(settings).beyond_dense:
        return Dense(settings, state)
    from mlquant.networks.model import AtWork

    return AtWork(settings, state)


def _needs_bottleneck(network: Dense | AtWork, settings: dict) -> None:
    if not network.row.encoder:
        raise InputError(f"{settings['family']} nn {settings['nn']}: has no bottleneck, so no latents")


def vectors(settings: dict, features: np.ndarray) -> np.ndarray:
    """Return the inputs [ceil(F/ncat), inputs] float32 of a trained network, for features [F, 22], or y [F, 79].

    A last, short sequence repeats its last frame; a network that makes y_hat of b sees every frame as voiced.
    """
    row = row_of(settings)
    if features.shape[1] != (79 if row.source == "y" else 22):
        raise InputError(
            f"features: {features.shape[1]} a frame, expected {'79 of y' if row.source == 'y' else '22 of b'} for "
            f"{settings['family']} nn {settings['nn']}"
        )
    features = np.array(features)
    if row.source == "b" and row.target == "y":
        features[:, 21] = 1.0
    return _in_sequences(network_inputs(settings, features), settings["ncat"])


def _in_sequences(x: np.ndarray, ncat: int) -> np.ndarray:
    return np.concatenate([x, np.repeat(x[-1:], -len(x) % ncat, axis=0)]).reshape(-1, ncat * x.shape[1])


_quietly = np.errstate(
    over="ignore", invalid="ignore"
)  # `_finite` refuses what is not finite; numpy would warn of it too


def _finite(output: np.ndarray) -> np.ndarray:
    if not np.isfinite(output).all():
        vector = int(np.argmin(np.isfinite(output).all(axis=1)))
        raise InputError(f"network: what it makes of vector {vector} holds NaN or infinity, expected features in dB")
    return output


@_quietly
def encode(network: Dense | AtWork, settings: dict, features: np.ndarray) -> np.ndarray:
    """Latents [ceil(F/ncat), latent_width] float32 of features [F, 22], or [F, 79] where the network takes y.

    Raises InputError for a network without a bottleneck.
    """
    _needs_bottleneck(network, settings)
    return _finite(network.encode(vectors(settings, features)))


def spectrum(features: np.ndarray) -> np.ndarray:
    """The part of features that is in dB: b [F, 20] of records [F, 22], or y [F, 79] itself."""
    return features[:, :20] if features.shape[1] == 22 else features


@_quietly
def decode(
    network: Dense | AtWork, settings: dict, latents: np.ndarray, features: np.ndarray, y: np.ndarray | None = None
) -> np.ndarray:
    """Features of latents [ceil(F/ncat), latent_width]: y_hat [F, 79], or records [F, 22] with b_hat for b.

    The energy comes from y [F, 79] where given and the network makes y_hat, else from the features [F, 22 or 79].
    Raises InputError when the numbers of frames or latents do not match and for a network without a bottleneck.
    """
    _needs_bottleneck(network, settings)
    if latents.shape[1] != latent_width(settings):
        raise InputError(f"latents: {latents.shape[1]} a vector, expected {latent_width(settings)}")
    expected = -(-len(features) // settings["ncat"])
    if len(latents) != expected:
        raise InputError(
            f"latents: {len(latents)} vectors, expected {expected} for {len(features)} frames in {settings['ncat']}s"
        )
    output = network.decode(latents)
    return _restore(settings, output, features, y)


@_quietly
def infer(
    network: Dense | AtWork,
    settings: dict,
    features: np.ndarray,
    y: np.ndarray | None = None,
    noise_var: float = 0.0,
    seed: int = 0,
) -> np.ndarray:
    """`decode(encode(...))` in one, optionally with Gaussian noise of variance `noise_var` on the latents.

    Raises InputError for a variance that is negative or infinite, and for noise in a network without a bottleneck.
    """
    if not 0 <= noise_var < np.inf:
        raise InputError(f"noise_var: found {noise_var:g}, expected a variance of 0 or more")
    if noise_var > 0:
        _needs_bottleneck(network, settings)
    latents = network.encode(vectors(settings, features))
    if noise_var > 0:
        noise = np.random.default_rng(seed).standard_normal(latents.shape, np.float32)
        latents = latents + np.float32(noise_var**0.5) * noise
    return _restore(settings, network.decode(latents), features, y)


def _restore(settings: dict, output: np.ndarray, features: np.ndarray, y: np.ndarray | None) -> np.ndarray:
    """Network output back to features in dB, with the energy put back."""
    if y is not None and len(y) != len(features):
        raise InputError(f"energy: {len(y)} frames of y, expected {len(features)} as of the features")
    restored = 20.0 * output.reshape(-1, output.shape[1] // settings["ncat"])[: len(features)].astype(np.float64)
    makes_y = row_of(settings).target == "y"
    if settings["norm"]:
        # A normalised target has energy 1. An estimate need not have, and its energy is not corrected.
        source = y if makes_y and y is not None else spectrum(features)
        restored += energy_dB(source)[:, None]
    restored = _finite(restored.astype(np.float32))
    return restored if makes_y else np.concatenate([restored, features[:, 20:]], axis=1)
