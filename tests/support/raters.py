"""Simulated raters: files of answers as the page of a listening test saves them, by raters whose tastes are known."""

import csv

import numpy as np

from mlquant.listening.ratings import COLUMNS

REFERENCE, ANCHOR = ("reference", "", ""), ("anchor", "", "700C")


def output(index):
    return ("output", str(index), f"out_{index}")


TRUE = {REFERENCE: 100.0, output(3): 82.0, output(6): 60.0, output(7): 52.0, output(8): 60.0, ANCHOR: 18.0}
"""What the raters of a test of kind mushra think of each sound, over all of them and all samples."""


def about(rater, trial, sample, kind="mushra", test="t.12345678"):
    return {
        **{"test": test, "kind": kind, "experiment": "240118.3f9a1c2e", "rater": rater, "seed": "7"},
        **{"time": f"2026-11-30T12:{trial:02}:00.000Z", "trial": trial, "sample": sample},
    }


def scored(name, samples, seed, true=TRUE, by_chance=False, taste=5.0):
    """The answers of a rater: the truth, a taste of the rater for each sound, and noise; or numbers by chance."""
    random = np.random.default_rng(seed)
    tastes = {what: random.normal(0, taste) for what in true}
    rows = []
    for trial, sample in enumerate(random.permutation(samples), 1):
        for letter, what in zip("ABCDEFGHIJKL", random.permutation(np.array([*true], object)), strict=False):
            score = true[tuple(what)] + tastes[tuple(what)] + random.normal(0, 8)
            if tuple(what) == REFERENCE:
                score = random.choice([100, 100, 100, 98, 95, 92])
            score = random.uniform(0, 100) if by_chance else np.clip(score, 0, 100)
            named = dict(zip(("stimulus", "index", "tag"), what, strict=True))
            heard = {"position": letter, "score": round(float(score)), "listens": 2, "seconds": 5.25}
            rows.append(about(name, trial, sample) | named | heard)
    return rows


def preferred(name, samples, seed, strengths):
    """The answers of a rater to pairs, who prefers A with the chance a / (a + b), as Bradley and Terry have it."""
    random = np.random.default_rng(seed)
    rows = []
    pairs = [(sample, a, b) for sample in samples for a in strengths for b in strengths if a < b]
    for trial, (sample, a, b) in enumerate(pairs, 1):
        first = float(random.random() < strengths[a] / (strengths[a] + strengths[b]))
        if random.random() < 0.1:
            first = 0.5
        for letter, index, score in (("A", a, first), ("B", b, 1 - first)):
            named = dict(zip(("stimulus", "index", "tag"), output(index), strict=True))
            heard = {"position": letter, "score": f"{score:g}", "listens": 1, "seconds": 3}
            rows.append(about(name, trial, sample, "preference") | named | heard)
    return rows


def saved(path, rows):
    """The rows as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path
