"""What readers of the figures of a test set are told."""

from __future__ import annotations

from collections.abc import Mapping

OVER_SPEAKERS = (
    "Intervals are of 95 %, by bootstrap over speakers: whole speakers are drawn, because utterances of one are alike. "
    "A difference is paired by utterance, and beyond chance where its interval holds no 0."
)


def counted(test_set: Mapping) -> str:
    """Return the numbers of a test set in words: 58 utterances of 8 speakers."""
    numbers = ((test_set[name], name) for name in ("utterances", "speakers"))
    return " of ".join(f"{number} {name if number != 1 else name[:-1]}" for number, name in numbers)
