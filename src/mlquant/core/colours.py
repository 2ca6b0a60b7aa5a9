"""The colours of curves and outputs, in figures and on pages alike.

Colour i of `LIGHT` is for a light ground and colour i of `DARK` for a dark one; both have the same hue as far as that
is possible. They were chosen by a search: any two of a list differ by 0.08 or more in OKLab, also for eyes without the
red or the green cones (as simulated by Machado, Oliveira and Fernandes, 2009), and each has a contrast of 3 or more.
"""

LIGHT = (
    *("#3c5af0", "#c3871e", "#004b00", "#5a0f69", "#4b96b4", "#f04b87"),
    *("#001ea5", "#a5004b", "#5a7800", "#963cb4", "#a578ff", "#005a78"),
)
DARK = (
    *("#a5a5ff", "#ffd296", "#3c873c", "#a56987", "#78b478", "#f02d1e"),
    *("#0096c3", "#f08700", "#96e10f", "#ff96b4", "#875af0", "#3cf0ff"),
)
