"""Recorded RGB-D sequences in the export layout of ScanNet tools.

color/*.jpg|png, depth/*.png (uint16 millimetres, 0 = none), pose/*.txt (4x4 camera to world,
optical axes, metres), intrinsic/intrinsic_color.txt and intrinsic_depth.txt (4x4); optionally
label/*.png (class ids, 0 = unlabelled) and classes.json ({"classes": {"1": "chair", ...}}).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geopurify_ros.core.frame import RgbdFrame, check_pose
from geopurify_ros.errors import InputError

_FRAME_INTERVAL_NS = 33_333_333  # the layout has no stamps; 30 Hz, the rate of the cameras
_MAX_VALID_MM = 65_000  # Kinect exports mark missing depth with 65535
_ROUNDING = 0.02  # of a rotation's products: three digits leave a tenth of it
_log = logging.getLogger(__name__)


class Sequence:
    """A folder of posed RGB-D images; frames are read when asked for."""

    def __init__(self, folder: Path) -> None:
        """Find the frames of `folder`.

        Raises:
            InputError: not such a folder, or no frame in it.
        """
        self.folder = folder
        for part in ("color", "depth", "pose", "intrinsic"):
            if not (folder / part).is_dir():
                raise InputError(
                    f"{folder} is not a sequence: it has no folder {part}/ "
                    "(expected color/ depth/ pose/ intrinsic/)"
                )
        colors = {p.stem: p for p in (folder / "color").iterdir() if p.suffix in (".jpg", ".png")}
        depths = {p.stem: p for p in (folder / "depth").glob("*.png")}
        poses = {p.stem: p for p in (folder / "pose").glob("*.txt")}
        names = sorted(colors.keys() & depths.keys() & poses.keys(), key=_frame_order)
        self._poses, refused = _read_poses({n: poses[n] for n in names})
        if refused:
            _log.warning("%s: %d frames have no usable pose and are left out (%s)", folder,
                         len(refused), refused[0])
        if not self._poses:
            reason = f": {refused[0]}" if refused else ""
            raise InputError(f"{folder} has no frame with colour, depth and a usable pose{reason}")
        self._files = [(n, colors[n], depths[n]) for n in self._poses]
        self._depth_intrinsics = read_matrix(folder / "intrinsic/intrinsic_depth.txt")[:3, :3]
        self._color_intrinsics = read_matrix(folder / "intrinsic/intrinsic_color.txt")[:3, :3]
        self.class_names = _read_classes(folder / "classes.json")

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._files)

    @property
    def has_labels(self) -> bool:
        """Whether ground truth comes with it."""
        return bool(self.class_names) and (self.folder / "label").is_dir()

    @property
    def has_instances(self) -> bool:
        """Whether the labels tell one chair from another (instance/*.png)."""
        return (self.folder / "instance").is_dir()

    def frame(self, number: int) -> RgbdFrame:
        """Frame `number` on the pixels of its depth image.

        Raises:
            InputError: a file cannot be read.
        """
        name, color_path, depth_path = self._files[number]
        raw_depth = _read_image(depth_path)
        if raw_depth.ndim != 2:
            channels = raw_depth.shape[2]
            raise InputError(f"{depth_path} is no depth image: it has {channels} channels")
        depth_m = raw_depth.astype(np.float32) / 1000.0
        depth_m[(raw_depth == 0) | (raw_depth > _MAX_VALID_MM)] = np.nan
        image = _read_rgb(color_path)
        rgb = self._on_depth_pixels(image, depth_m.shape, Image.Resampling.BOX)
        return RgbdFrame(
            rgb, depth_m, self._depth_intrinsics, self._poses[name], number * _FRAME_INTERVAL_NS
        )

    def label(self, number: int, kind: str = "label") -> NDArray[np.int64]:
        """(H, W) class ids of frame `number` on its depth pixels, 0 = unlabelled.

        `kind` "instance" reads the images of instance/ in their place.

        Labels in the size of the colour image belong to its pixels.

        Raises:
            InputError: the file is missing, no single-channel image, or of a third size.
        """
        name, color_path, depth_path = self._files[number]
        path = self.folder / kind / f"{name}.png"
        label = _read_image(path)
        if label.ndim != 2:
            raise InputError(f"{path} is no label image: it has {label.shape[2]} channels")
        size, color_size = (Image.open(p).size[::-1] for p in (depth_path, color_path))
        if label.shape not in (size, color_size):
            raise InputError(
                f"{path} has size {label.shape}, the depth image {size}, the colour {color_size}"
            )
        if label.shape != size:
            image = Image.fromarray(label.astype(np.int32))
            label = self._on_depth_pixels(image, size, Image.Resampling.NEAREST)
        return label.astype(np.int64)

    def _on_depth_pixels(
        self, image: Image.Image, depth_size: tuple[int, ...], resampling: Image.Resampling
    ) -> NDArray[Any]:
        """The colour camera's image at each depth pixel; the two differ by intrinsics only."""
        height, width = depth_size
        color, depth = self._color_intrinsics, self._depth_intrinsics
        scale = np.array([width / image.width, height / image.height])
        scaled = color[:2] * scale[:, None]
        if np.abs(scaled - depth[:2]).max() < 2.0:
            if image.size != (width, height):
                image = image.resize((width, height), resampling)
            return np.array(image)
        # u_color = fx_color / fx_depth * (u_depth - cx_depth) + cx_color, likewise for v
        a, e = color[0, 0] / depth[0, 0], color[1, 1] / depth[1, 1]
        c, f = color[0, 2] - a * depth[0, 2], color[1, 2] - e * depth[1, 2]
        # PIL counts from pixel corners, intrinsics from pixel centres
        shift = (c + 0.5 - 0.5 * a, f + 0.5 - 0.5 * e)
        if resampling != Image.Resampling.NEAREST:
            resampling = Image.Resampling.BILINEAR  # a transform knows no box
        mapping = (a, 0, shift[0], 0, e, shift[1])
        return np.array(
            image.transform((width, height), Image.Transform.AFFINE, mapping, resampling)
        )


def _frame_order(name: str) -> tuple[int, str]:
    digits = "".join(c for c in name if c.isdigit())
    return (int(digits) if digits else 0, name)


def _read_poses(paths: dict[str, Path]) -> tuple[dict[str, NDArray[np.float64]], list[str]]:
    """The usable poses by name, and why others are not: exporters write -inf for lost tracking."""
    poses, refused = {}, []
    for name, path in paths.items():
        try:
            pose = _as_rotation(read_matrix(path))
            check_pose(pose)
            poses[name] = pose
        except InputError as error:
            refused.append(str(error))
    return poses, refused


def _as_rotation(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """`pose` with the nearest rotation where a text file's few digits made it none."""
    rotation = pose[:3, :3]
    if not np.isfinite(pose).all() or not 1e-3 < np.abs(
        rotation @ rotation.T - np.eye(3)
    ).max() < _ROUNDING:
        return pose
    left, _, right = np.linalg.svd(rotation)
    mended = pose.copy()
    mended[:3, :3] = left @ right
    return mended


def read_matrix(path: Path) -> NDArray[np.float64]:
    """(4, 4) from a text file of a sequence.

    Raises:
        InputError: it cannot be read, or has another shape.
    """
    try:
        rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
        matrix = np.array(rows, dtype=np.float64)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a 4x4 matrix") from error
    if matrix.shape != (4, 4):
        raise InputError(f"{path} holds a matrix of shape {matrix.shape}, expected (4, 4)")
    return matrix


def _read_image(path: Path) -> NDArray[np.integer]:
    with _readable(path):
        return np.asarray(Image.open(path))


def _read_rgb(path: Path) -> Image.Image:
    with _readable(path):
        return Image.open(path).convert("RGB")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SyntaxError) as error:  # PIL raises both for damaged files
        raise InputError(f"{path} cannot be read as an image") from error


def _read_classes(path: Path) -> dict[int, str]:
    """Class id -> name, in the order of the ids; empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        classes = json.loads(path.read_text())["classes"]
        return {int(i): str(classes[i]) for i in sorted(classes, key=int) if int(i) > 0}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f'{path} is not of the form {{"classes": {{"1": "chair"}}}}') from error
