"""A map and its labels from above, as a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geopurify_ros.core.answers.palette import label_colors
from geopurify_ros.core.answers.query import VoxelLabels
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.data import render

_PICTURE_PX = 720


def map_rgb(pipeline: Pipeline) -> NDArray[np.uint8]:  # (V, 3)
    """Colours of the voxels."""
    return np.asarray(pipeline.map.colors().round().clamp(0, 255).byte().cpu())


def picture(
    pipeline: Pipeline,
    labels: VoxelLabels,
    up: NDArray[np.float64],  # (3,)
    prompts: tuple[str, ...],
    absent: frozenset[str] = frozenset(),
) -> Image.Image:
    """The map from above, in its own colours and in those of the labels.

    `absent`: prompts that were not found; the legend says so.
    """
    centers = pipeline.map.centers_m().cpu().numpy()
    low = render.below_ceiling(centers, up)
    view = render.birds_eye(centers[low], up, _PICTURE_PX)
    rgb = map_rgb(pipeline)
    colored = label_colors(labels.label.cpu().numpy(), rgb)
    panels = [
        render.with_title(
            render.render_points(centers[low], colors[low], view, pipeline.map.voxel_size_m), title
        )
        for title, colors in (("map", rgb), ("labels", colored))
    ]
    return render.side_by_side([panels], prompts, absent)
