"""Curves of a training run as a picture; Pillow only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from geopurify_ros.data.output_files import save_picture

_SIZE = (460, 180)  # of one curve, pixels
_MARGIN = (56, 24, 12, 20)  # left, top, right, bottom


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """One panel per number that the steps logged: each step in grey, a running mean in blue."""
    names = list({name: None for step in history for name in step})
    picture = Image.new("RGB", (_SIZE[0], max(1, len(names)) * _SIZE[1]), "white")
    pen = ImageDraw.Draw(picture)
    for number, name in enumerate(names):
        values = np.array([step.get(name, np.nan) for step in history], dtype=np.float64)
        _panel(pen, (0, number * _SIZE[1]), name, values)
    save_picture(picture, path)


def smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running mean over a fiftieth of the run."""
    width = max(1, len(values) // 50)
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")


def _panel(
    pen: ImageDraw.ImageDraw, corner: tuple[int, int], name: str, values: NDArray[np.float64]
) -> None:
    left, top = corner[0] + _MARGIN[0], corner[1] + _MARGIN[1]
    right, bottom = corner[0] + _SIZE[0] - _MARGIN[2], corner[1] + _SIZE[1] - _MARGIN[3]
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    high = high if high > low else low + 1.0
    pen.rectangle((left, top, right, bottom), outline=(200, 200, 200))
    pen.text((left, corner[1] + 6), name, fill="black")
    for value, y in ((high, top), (low, bottom - 10)):
        pen.text((corner[0] + 4, y), f"{value:.3g}", fill="black")
    pen.text((right - 60, bottom + 4), f"{len(values)} steps", fill="black")
    x = np.linspace(left, right, len(values))
    for line, color in ((values, "#cdcdcd"), (smoothed(values), "#1e50c8")):
        heights = bottom - (line - low) / (high - low) * (bottom - top)
        both = np.stack((x, heights), axis=1)
        points = [(a, b) for a, b in both[np.isfinite(heights)].tolist()]
        if len(points) > 1:
            pen.line(points, fill=color)
