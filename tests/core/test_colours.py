"""The colours of figures and pages can be told apart, by colour-blind eyes too."""

import itertools

import numpy as np
import pytest

from mlquant.core import colours

# Machado, Oliveira and Fernandes (2009): what eyes without red and without green cones see, in linear sRGB.
NO_RED = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
NO_GREEN = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
# Ottosson (2020): from linear sRGB to OKLab.
CONES = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
LAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]


def linear(names):
    """The colours as linear sRGB [N, 3]."""
    values = np.array([[int(name[at : at + 2], 16) for at in (1, 3, 5)] for name in names]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("names", [colours.LIGHT, colours.DARK], ids=["light", "dark"])
@pytest.mark.parametrize("eyes", [np.eye(3), NO_RED, NO_GREEN], ids=["all cones", "no red", "no green"])
def test_any_two_colours_differ(names, eyes):
    seen = np.clip(linear(names) @ np.transpose(eyes), 0, 1)
    lab = np.cbrt(seen @ np.transpose(CONES)) @ np.transpose(LAB)
    nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2))
    assert nearest >= 0.08


@pytest.mark.parametrize(("names", "ground"), [(colours.LIGHT, "#fcfcfb"), (colours.DARK, "#14171a")])
def test_each_colour_stands_out_from_its_ground(names, ground):
    luminance, of_ground = (linear(list(them)) @ [0.2126, 0.7152, 0.0722] for them in (names, [ground]))
    contrast = (np.maximum(luminance, of_ground) + 0.05) / (np.minimum(luminance, of_ground) + 0.05)
    assert contrast.min() >= 3
