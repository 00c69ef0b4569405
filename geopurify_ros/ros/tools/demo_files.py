"""What the demo leaves behind: labelled PLY files and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geopurify_ros.config import Config
from geopurify_ros.data import render
from geopurify_ros.data.export import write_labeled_ply
from geopurify_ros.data.output_files import save_picture
from geopurify_ros.data.readers.sequence import Sequence
from geopurify_ros.evaluate.clouds import LabeledPoints

_PANEL_PX = 460


def write_ply(path: Path, points: LabeledPoints, prompts: tuple[str, ...]) -> None:
    """The received cloud as a file."""
    write_labeled_ply(path, points.xyz_m, points.rgb, points.label, points.score, prompts)


def write_picture(
    path: Path,
    sequence: Sequence,
    plain: LabeledPoints,
    raw: LabeledPoints,
    purified: LabeledPoints,
    prompts: tuple[str, ...],
    absent: frozenset[str],
) -> None:
    """Camera or map, raw and purified labels: through a camera of the sequence and from above.

    `absent`: prompts that were not found; the legend says so.
    """
    number = _richest_view(sequence)
    frame = sequence.frame(number)
    height, width = frame.rgb.shape[:2]
    scale = _PANEL_PX / width
    inside = render.View(
        frame.T_world_camera, frame.intrinsics[0, 0] * scale, _PANEL_PX, round(height * scale)
    )
    up = render.mean_up([sequence.frame(i).T_world_camera for i in range(len(sequence))])
    low = render.below_ceiling(plain.xyz_m.astype(np.float64), up)
    above = render.birds_eye(plain.xyz_m[low].astype(np.float64), up, _PANEL_PX)
    camera = Image.fromarray(frame.rgb).resize((inside.width, inside.height))
    rows = [
        [("camera", np.asarray(camera)), ("raw labels", _draw(raw, inside)),
         ("purified labels", _draw(purified, inside))],
        [("map from above", _draw(plain, above, up)), ("raw labels", _draw(raw, above, up)),
         ("purified labels", _draw(purified, above, up))],
    ]
    panels = [[render.with_title(image, title) for title, image in row] for row in rows]
    save_picture(render.side_by_side(panels, prompts, absent), path)


def _draw(
    points: LabeledPoints, view: render.View, up: NDArray[np.float64] | None = None
) -> NDArray[np.uint8]:
    """The cloud in `view`; with `up` without the ceiling."""
    xyz, rgb = points.xyz_m.astype(np.float64), points.rgb
    if up is not None:
        low = render.below_ceiling(xyz, up)
        xyz, rgb = xyz[low], rgb[low]
    return render.render_points(xyz, rgb, view, Config().map.voxel_size_m)


def _richest_view(sequence: Sequence) -> int:
    """The frame that sees the most classes."""
    counts = [len(np.unique(sequence.label(i))) for i in range(len(sequence))]
    return int(np.argmax(counts))
