"""Reading of codebooks and prediction coefficients, for the commands of quantisers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlquant.core import records
from mlquant.core.errors import InputError


def read_codebooks(paths: Sequence[Path], k: int) -> list[np.ndarray]:
    """Read codebooks [M, k] from files; InputError for one that cannot be read."""
    return [records.read_f32(path, k) for path in paths]


def read_coefficient(predict: str | float | None, predictor: Path | None = None) -> float | None:
    """Return a prediction coefficient: from the file `predictor`, or `predict`, a number or a file; else None."""
    if predictor is None and predict is None:
        return None
    if predictor is None:
        if predict == "":
            raise InputError("predict: found nothing, expected a number or a file")
        try:
            return float(predict or 0)
        except ValueError:
            predictor = Path(str(predict))
    found = records.read_f32(predictor, 1)
    if len(found) != 1:
        raise InputError(f"{predictor}: {len(found)} numbers, expected 1, a prediction coefficient")
    return float(found[0, 0])
