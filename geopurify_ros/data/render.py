"""Pictures of point clouds, for people: voxels as squares, nearest on top."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from geopurify_ros.core.answers.palette import label_color

_BACKGROUND = 248
_MAX_SPLAT_PX = 15


@dataclass(frozen=True)
class View:
    """A pinhole camera: T_world_camera (4, 4), focal length and size in pixels."""

    T_world_camera: NDArray[np.float64]
    focal_px: float
    width: int
    height: int


def look_at(
    eye_m: NDArray[np.float64],  # (3,)
    target_m: NDArray[np.float64],  # (3,)
    up: NDArray[np.float64],  # (3,) unit
) -> NDArray[np.float64]:  # (4, 4)
    """Pose of a camera at `eye_m` that looks at `target_m`."""
    forward = (target_m - eye_m) / np.linalg.norm(target_m - eye_m)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack((right, np.cross(forward, right), forward), axis=1)
    pose[:3, 3] = eye_m
    return pose


def birds_eye(points_m: NDArray[np.float64], up: NDArray[np.float64], size: int) -> View:
    """A view of the whole cloud from above, slightly tilted."""
    low, high = np.percentile(points_m, (1, 99), axis=0)
    center = (low + high) / 2
    radius = max(0.5, float(np.linalg.norm(high - low)) / 2)
    side = np.array([1.0, 0.0, 0.0]) if abs(up[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    side -= up * (side @ up)
    side /= np.linalg.norm(side)
    # nearly overhead, from a narrow far lens: walls stay thin and hide nothing
    eye = center + radius * 4.0 * (0.94 * up + 0.34 * np.cross(up, side))
    return View(look_at(eye, center, up), 1.85 * size, size, round(size * 0.8))


def below_ceiling(
    points_m: NDArray[np.float64],  # (N, 3)
    up: NDArray[np.float64],  # (3,)
) -> NDArray[np.bool_]:  # (N,)
    """All but the top 30 cm, so that a view from above looks in; all of a flat cloud."""
    height = points_m @ up
    low = np.asarray(height < np.percentile(height, 99.5) - 0.3)
    return low if low.any() else ~low


def mean_up(poses: list[NDArray[np.float64]]) -> NDArray[np.float64]:  # (3,)
    """Where up is, if the cameras were held upright on average."""
    up = -np.mean([pose[:3, 1] for pose in poses], axis=0)
    return np.asarray(up / np.linalg.norm(up))


def render_points(
    points_m: NDArray[np.float64],  # (N, 3)
    rgb: NDArray[np.uint8],  # (N, 3)
    view: View,
    point_size_m: float,
) -> NDArray[np.uint8]:  # (height, width, 3)
    """Each point as a square of its size in metres, painted from far to near."""
    image = np.full((view.height, view.width, 3), _BACKGROUND, dtype=np.uint8)
    T_camera_world = np.linalg.inv(view.T_world_camera)
    camera = points_m @ T_camera_world[:3, :3].T + T_camera_world[:3, 3]
    ahead = camera[:, 2] > 0.1
    camera, rgb = camera[ahead], rgb[ahead]
    order = np.argsort(-camera[:, 2])
    camera, rgb = camera[order], rgb[order]
    u = view.focal_px * camera[:, 0] / camera[:, 2] + view.width / 2
    v = view.focal_px * camera[:, 1] / camera[:, 2] + view.height / 2
    size = np.clip(np.ceil(1.15 * view.focal_px * point_size_m / camera[:, 2]), 1, _MAX_SPLAT_PX)
    for near, far in _depth_slices(camera[:, 2]):
        part = slice(near, far)
        _paint(image, u[part], v[part], size[part].astype(int), rgb[part])
    return image


def _depth_slices(depth_m: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Cuts of the far-to-near order, thin enough that squares of one slice may overlap freely."""
    if len(depth_m) == 0:
        return []
    levels = np.arange(depth_m[0], depth_m[-1] - 0.05, -0.05)
    cuts = np.unique(np.r_[0, np.searchsorted(-depth_m, -levels), len(depth_m)])
    return list(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))


def _paint(
    image: NDArray[np.uint8],
    u: NDArray[np.float64],
    v: NDArray[np.float64],
    size: NDArray[np.int_],
    rgb: NDArray[np.uint8],
) -> None:
    height, width = image.shape[:2]
    for edge in np.unique(size):
        chosen = size == edge
        left = np.round(u[chosen] - edge / 2).astype(int)
        top = np.round(v[chosen] - edge / 2).astype(int)
        for dy in range(edge):
            for dx in range(edge):
                x, y = left + dx, top + dy
                inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
                image[y[inside], x[inside]] = rgb[chosen][inside]


def with_title(image: NDArray[np.uint8], title: str) -> Image.Image:
    """The picture under a line of text."""
    made = Image.new("RGB", (image.shape[1], image.shape[0] + 22), "white")
    made.paste(Image.fromarray(image), (0, 22))
    ImageDraw.Draw(made).text((6, 5), title, fill="black", font_size=13)
    return made


def side_by_side(
    panels: list[list[Image.Image]],
    prompts: tuple[str, ...],
    absent: frozenset[str] = frozenset(),
) -> Image.Image:
    """Rows of pictures above a legend of the label colours; `absent`: prompts not found."""
    widths = [sum(p.width + 6 for p in row) for row in panels]
    heights = [max(p.height for p in row) + 6 for row in panels]
    columns = max(1, max(widths) // 150)
    legend_rows = -(-len(prompts) // columns) if prompts else 0
    made = Image.new("RGB", (max(widths), sum(heights) + 18 * legend_rows + 6), "white")
    top = 0
    for row, height in zip(panels, heights, strict=True):
        left = 0
        for panel in row:
            made.paste(panel, (left, top))
            left += panel.width + 6
        top += height
    draw = ImageDraw.Draw(made)
    for number, prompt in enumerate(prompts):
        x, y = 8 + 150 * (number % columns), top + 18 * (number // columns)
        color = label_color(number + 1)
        if prompt in absent:
            draw.rectangle((x, y + 2, x + 12, y + 14), outline=color)
            draw.text((x + 18, y + 1), f"no {prompt}"[:20], fill="gray", font_size=12)
        else:
            draw.rectangle((x, y + 2, x + 12, y + 14), fill=color)
            draw.text((x + 18, y + 1), prompt[:20], fill="black", font_size=12)
    return made
