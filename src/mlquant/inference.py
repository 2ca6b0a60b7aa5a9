"""Trained networks at work: features to latents, latents to features, or straight through.

A network's output is restored to dB: networks trained on energy-normalised vectors get the energy of the
features (or, for y_hat, of the true y) put back; it is passed on unquantised. For y_hat the voicing input is
forced to 1, as manifold networks are trained on voiced frames only.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import safetensors
import torch

from mlquant.architectures import ROWS
from mlquant.files import InputError
from mlquant.networks import Network, energy_dB, network_inputs


def load(weights: str | Path) -> tuple[Network, dict]:
    """Network and settings of a weights.safetensors file; InputError when it is none of ours."""
    if not Path(weights).is_file():
        raise InputError(f"{weights}: no such file")
    try:
        with safetensors.safe_open(weights, "pt") as file:
            settings = json.loads((file.metadata() or {})["settings"])
            network = Network(settings)
            network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{weights}: not weights written by mlquant train ({reason})") from None
    torch.set_num_threads(1)  # results must not depend on the number of cores
    return network.eval(), settings


def target_of(settings: dict) -> str:
    """What the network approximates: "b" or "y"."""
    return ROWS[settings["family"], settings["nn"]].target


def _needs_bottleneck(network: Network, settings: dict) -> None:
    if not network.row.encoder:
        raise InputError(f"{settings['family']} nn {settings['nn']}: has no bottleneck, so no latents")


@torch.no_grad()
def encode(network: Network, settings: dict, records: np.ndarray, thresh: float | None = None) -> np.ndarray:
    """Latents [ceil(F/ncat), d] float32 of feature records [F, 22]; a last, short sequence repeats its last frame.

    With `thresh`, sequences that hold a frame of less b energy (dB) are left out. Raises InputError for a network
    without a bottleneck.
    """
    _needs_bottleneck(network, settings)
    records = np.array(records)
    if target_of(settings) == "y":
        records[:, 21] = 1.0
    x = network_inputs(settings, records)
    x = np.concatenate([x, np.repeat(x[-1:], -len(x) % settings["ncat"], axis=0)])
    latents = network.encode(torch.from_numpy(x.reshape(-1, settings["ncat"] * x.shape[1]))).numpy()
    if thresh is None:
        return latents
    energy = energy_dB(records[:, :20].astype(np.float64))
    energy = np.concatenate([energy, np.repeat(energy[-1:], -len(energy) % settings["ncat"])])
    return latents[(energy.reshape(-1, settings["ncat"]) > thresh).all(axis=1)]


@torch.no_grad()
def decode(
    network: Network, settings: dict, latents: np.ndarray, records: np.ndarray, y: np.ndarray | None = None
) -> np.ndarray:
    """Features of latents [ceil(F/ncat), d]: y_hat [F, 79], or records [F, 22] with b_hat for b.

    The energy comes from y [F, 79] where given and the network makes y_hat, else from the records [F, 22].
    Raises InputError when the numbers of frames or latents do not match and for a network without a bottleneck.
    """
    _needs_bottleneck(network, settings)
    if latents.shape[1] != settings["d"]:
        raise InputError(f"latents: {latents.shape[1]} a vector, expected {settings['d']}")
    expected = -(-len(records) // settings["ncat"])
    if len(latents) != expected:
        raise InputError(
            f"latents: {len(latents)} vectors, expected {expected} for {len(records)} frames in {settings['ncat']}s"
        )
    output = network.decode(torch.from_numpy(np.array(latents, np.float32))).numpy()
    return _restore(settings, output, records, y)


@torch.no_grad()
def infer(
    network: Network,
    settings: dict,
    records: np.ndarray,
    y: np.ndarray | None = None,
    noise_var: float = 0.0,
    seed: int = 0,
) -> np.ndarray:
    """`decode(encode(...))` in one, optionally with Gaussian noise of variance `noise_var` on the latents.

    Raises InputError for a variance that is none, and for one at a network without a bottleneck.
    """
    if not 0 <= noise_var < np.inf:
        raise InputError(f"noise_var: found {noise_var:g}, expected a variance of 0 or more")
    if noise_var > 0:
        _needs_bottleneck(network, settings)
    if not network.row.encoder:
        forced = np.array(records)
        forced[:, 21] = 1.0
        output = network.decode(torch.from_numpy(network_inputs(settings, forced))).numpy()
        return _restore(settings, output, records, y)
    latents = encode(network, settings, records)
    if noise_var > 0:
        noise = np.random.default_rng(seed).standard_normal(latents.shape, np.float32)
        latents = latents + np.float32(noise_var**0.5) * noise
    return decode(network, settings, latents, records, y)


def _restore(settings: dict, output: np.ndarray, records: np.ndarray, y: np.ndarray | None) -> np.ndarray:
    """Network output back to features in dB, with the energy put back."""
    if y is not None and len(y) != len(records):
        raise InputError(f"energy: {len(y)} frames of y, expected {len(records)} as of b")
    features = 20.0 * output.reshape(-1, output.shape[1] // settings["ncat"])[: len(records)].astype(np.float64)
    makes_y = target_of(settings) == "y"
    if settings["norm"] or makes_y:
        # A normalised target sums to energy 1, but an estimate need not: it keeps what it has.
        source = y if makes_y and y is not None else records[:, :20]
        features += energy_dB(source.astype(np.float64))[:, None]
    if makes_y:
        return features.astype(np.float32)
    return np.concatenate([features.astype(np.float32), records[:, 20:].astype(np.float32)], axis=1)
