"""GFLOP/s that the BLAS of PyTorch and of numpy reach on matrix products of given shapes: `python blas.py JSON`."""

import json
import sys
import time
from collections.abc import Callable

import numpy as np
import torch


def best_seconds(multiply: Callable[[], object]) -> float:
    """Return the seconds of the fastest run; there are at least five runs, and as many as fit in 0.2 seconds."""
    multiply()
    times: list[float] = []
    while sum(times) < 0.2 or len(times) < 5:
        started = time.perf_counter()
        multiply()
        times.append(time.perf_counter() - started)
    return min(times)


def gflops(shapes: list[list[int]]) -> dict[str, float]:
    """Return the GFLOP/s over all shapes [m, k, n], one after another, in float32, into memory that is there."""
    seconds = {"PyTorch": 0.0, "numpy": 0.0}
    rng = np.random.default_rng(1)
    for m, k, n in shapes:
        a, b = (rng.standard_normal(shape, np.float32) for shape in ((m, k), (k, n)))
        c = np.empty((m, n), np.float32)
        tensors = [torch.from_numpy(array) for array in (a, b, c)]
        seconds["numpy"] += best_seconds(lambda a=a, b=b, c=c: np.matmul(a, b, out=c))
        seconds["PyTorch"] += best_seconds(lambda t=tensors: torch.mm(t[0], t[1], out=t[2]))
    operations = sum(2 * m * k * n for m, k, n in shapes)
    return {name: operations / taken / 1e9 for name, taken in seconds.items()}


if __name__ == "__main__":
    print(json.dumps(gflops(json.loads(sys.argv[1])["shapes"])))
