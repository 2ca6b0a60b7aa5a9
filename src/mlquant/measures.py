"""Measures of an experiment's outputs: numbers first, one row a sample and output."""

from __future__ import annotations

import numpy as np

from mlquant import features, files

COLUMNS = ["sample", "sex", "index", "tag", "sd_dB2", "sd_voiced_dB2", "sd_b_dB2", "latent_mse"]
COLUMNS += ["bits_per_frame", "frame_ms", "bit_per_s"]


def measure_output(row: dict) -> dict:
    """Measures of one output from the files that `row["files"]` names; None where there is nothing to measure.

    sd_dB2: mean over frames of the spectral distortion of y_hat against y, dB^2, 200 to 3700 Hz; sd_voiced_dB2
    over voiced frames only; sd_b_dB2: the same of b_hat against b over its 20 values; latent_mse: mean squared
    error of an element of the quantised latents.
    """
    named = row["files"]
    result = dict.fromkeys(COLUMNS) | {name: row[name] for name in ("index", "tag", "bits_per_frame", "frame_ms")}
    if row["bits_per_frame"]:
        result["bit_per_s"] = 1000 * row["bits_per_frame"] / row["frame_ms"]
    if "y_hat" in named:
        y, y_hat = files.read_f32(named["y"], 79), files.read_f32(named["y_hat"], 79)
        _same_frames(named["y"], y, named["y_hat"], y_hat)
        voiced = files.read_features(named["features"])[:, 21] > 0
        distortion = features.spectral_distortion(y, y_hat)
        result["sd_dB2"] = float(np.mean(distortion))
        result["sd_voiced_dB2"] = float(np.mean(distortion[voiced])) if voiced.any() else None
    if "b_hat" in named:
        b, b_hat = files.read_features(named["b"]), files.read_features(named["b_hat"])
        _same_frames(named["b"], b, named["b_hat"], b_hat)
        result["sd_b_dB2"] = float(np.mean((b[:, :20] - b_hat[:, :20]) ** 2))
    if "l_hat" in named:
        latents, quantised = files.read_f32(named["l"], 1), files.read_f32(named["l_hat"], 1)
        _same_frames(named["l"], latents, named["l_hat"], quantised)
        result["latent_mse"] = float(np.mean((latents - quantised) ** 2))
    return result


def _same_frames(path: str, array: np.ndarray, other_path: str, other: np.ndarray) -> None:
    if len(array) != len(other):
        raise files.InputError(f"{other_path}: {len(other)} records, expected {len(array)} as in {path}")
