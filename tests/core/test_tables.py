"""Values as the report writes them."""

import numpy as np
import pytest

from mlquant.core.tables import formatted


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (1.234, ".2f", "1.23"),
        (-1.234, "+.2f", "-1.23"),
        (np.float32(-0.004), ".2f", "0.00"),
        (-0.004, "+.2f", "+0.00"),
        (3, "", "3"),
        (3200, "g", "3200"),
        ("out", ".2f", "out"),
        (None, ".2f", ""),
        (float("nan"), ".2f", ""),
    ],
)
def test_a_missing_value_is_empty_and_what_rounds_to_zero_has_no_sign(value, spec, text):
    assert formatted(value, spec) == text
