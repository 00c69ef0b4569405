"""Colours of labels: distinct, always the same, and calm where nothing was found."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

_GOLDEN_RATIO = 0.618033988749895


def label_color(label: int) -> tuple[int, int, int]:
    """RGB 0..255 of a label >= 1; neighbours in the list are far apart in hue."""
    hue = (0.02 + (label - 1) * _GOLDEN_RATIO) % 1.0
    value = (1.0, 0.75, 0.9)[label % 3]
    r, g, b = colorsys.hsv_to_rgb(hue, 0.85, value)
    return round(255 * r), round(255 * g), round(255 * b)


def label_colors(
    label: NDArray[np.integer],  # (V,)
    rgb: NDArray[np.uint8],  # (V, 3)
) -> NDArray[np.uint8]:  # (V, 3)
    """The colour of each label; a faint grey of the own colour where the label is 0."""
    top = int(label.max()) if len(label) else 0
    table = np.array([(0, 0, 0), *(label_color(i) for i in range(1, top + 1))], dtype=np.uint8)
    colored: NDArray[np.uint8] = table[label]
    nothing = label == 0
    grey = rgb[nothing].mean(axis=1, keepdims=True)
    colored[nothing] = (150 + 0.35 * grey).astype(np.uint8)
    return colored
