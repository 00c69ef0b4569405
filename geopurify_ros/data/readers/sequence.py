"""Recorded RGB-D sequences in the export layout of ScanNet tools.

color/*.jpg|png, depth/*.png (uint16 millimetres, 0 = none), pose/*.txt (4x4 camera to world,
optical axes, metres), intrinsic/intrinsic_color.txt and intrinsic_depth.txt (4x4); optionally
label/*.png (class ids, 0 = unlabelled) and classes.json ({"classes": {"1": "chair", ...}}).
What exporters write in their place is taken where it is plain: see frame_files and matrix_file.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geopurify_ros.cameras import Topics
from geopurify_ros.config import Config
from geopurify_ros.core.mapping.frame import RgbdFrame, check_pose, check_view
from geopurify_ros.core.mapping.rectify import check_alike
from geopurify_ros.data.messages.arrays import metres_of
from geopurify_ros.data.messages.compressed import as_rgb
from geopurify_ros.data.readers.frame_files import frame_files
from geopurify_ros.data.readers.matrix_file import read_intrinsics, read_pose
from geopurify_ros.errors import InputError

_FRAME_INTERVAL_NS = 33_333_333  # the layout has no stamps; 30 Hz, the rate of the cameras
_MAX_VALID = 65_000  # Kinect exports mark missing depth with 65535
_DEPTH_MODES = ("I;16", "I;16B", "I;16L", "I", "F")
_ROUNDING = 0.02  # of a rotation's products: three digits leave a tenth of it
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Files:
    """One frame on disk."""

    color: Path
    depth: Path
    stems: tuple[str, ...]  # what its labels may be called
    T_world_camera: NDArray[np.float64]


class Sequence:
    """A folder of posed RGB-D images; frames are read when asked for."""

    def __init__(self, folder: Path, depth_unit_m: float = 0.0) -> None:
        """Find the frames of `folder`; `depth_unit_m` is configuration camera.depth_unit_m.

        Raises:
            InputError: not such a folder, no frame in it, or intrinsics of other images.
        """
        self.path = self.folder = folder
        self._depth_unit_m = depth_unit_m
        if not folder.exists():
            raise InputError(f"there is no file or folder {folder}")
        for part in ("color", "depth", "pose", "intrinsic"):
            if not (folder / part).is_dir():
                raise InputError(
                    f"{folder} is not a sequence: it has no folder {part}/ "
                    "(expected color/ depth/ pose/ intrinsic/)"
                )
        self._frames, refused = _posed(frame_files(folder))
        if refused:
            _log.warning("%s: %d frames have no usable pose and are left out (%s)", folder,
                         len(refused), refused[0])
        if not self._frames:
            raise InputError(
                f"{folder} has no frame with colour, depth and a usable pose: {refused[0]}"
            )
        self.refused = Counter(refused)  # why frames could not be used
        self._depth_intrinsics = read_intrinsics(folder / "intrinsic/intrinsic_depth.txt")
        self._color_intrinsics = read_intrinsics(folder / "intrinsic/intrinsic_color.txt")
        self._check_first()
        self.class_names = _read_classes(folder / "classes.json")

    @staticmethod
    def reads(path: Path) -> bool:
        """Anything: what is no such folder is refused in a sentence."""
        return True

    @classmethod
    def open(cls, path: Path, config: Config, topics: Topics) -> Sequence:
        """See `Recording.open`; there are no topics."""
        return cls(path, config.camera.depth_unit_m)

    def __enter__(self) -> Sequence:
        """Itself: nothing is held open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held open."""

    def _check_first(self) -> None:
        """Say before the work what would refuse every frame."""
        first = self._frames[0]
        try:
            sizes = [_size(path) for path in (first.color, first.depth)]
        except InputError:
            return  # one damaged file; the others may be whole
        self._check_sizes(*sizes)

    def _check_sizes(self, color: tuple[int, ...], depth: tuple[int, ...]) -> None:
        folder = self.folder / "intrinsic"
        try:
            for name, size, intrinsics in (("color", color, self._color_intrinsics),
                                           ("depth", depth, self._depth_intrinsics)):
                said = f"{folder}/intrinsic_{name}.txt does not fit {name}/"
                check_view(intrinsics, size)
            said = str(folder)
            check_alike(self._color_intrinsics, color, self._depth_intrinsics, depth)
        except InputError as error:
            sizes = f"colour is {color[1]} x {color[0]}, depth {depth[1]} x {depth[0]}"
            raise InputError(f"{said}: {error} ({sizes})") from error

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._frames)

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
        files = self._frames[number]
        depth_m = _read_depth(files.depth, self._depth_unit_m)
        image = _read_rgb(files.color)
        self._check_sizes(image.size[::-1], depth_m.shape)
        rgb = self._on_depth_pixels(image, depth_m.shape, Image.Resampling.BOX)
        return RgbdFrame(
            rgb, depth_m, self._depth_intrinsics, files.T_world_camera, number * _FRAME_INTERVAL_NS
        )

    def frames(self, every: int = 1) -> Iterator[RgbdFrame]:
        """Every `every`-th frame that can be read; the others are counted in `refused`."""
        for number in range(0, len(self), every):
            try:
                yield self.frame(number)
            except InputError as error:
                self.refused[str(error)] += 1

    def label(self, number: int, kind: str = "label") -> NDArray[np.int64]:
        """(H, W) class ids of frame `number` on its depth pixels, 0 = unlabelled.

        `kind` "instance" reads the images of instance/ in their place.

        Labels in the size of the colour image belong to its pixels.

        Raises:
            InputError: the file is missing, no single-channel image, or of a third size.
        """
        files = self._frames[number]
        paths = [self.folder / kind / f"{stem}.png" for stem in files.stems]
        path = next((path for path in paths if path.is_file()), paths[0])
        label = _read_image(path)
        if label.ndim != 2:
            raise InputError(f"{path} is no label image: it has {label.shape[2]} channels")
        size, color_size = _size(files.depth), _size(files.color)
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


def _posed(files: list[tuple[Path, Path, Path]]) -> tuple[list[_Files], list[str]]:
    """Frames with usable poses, and why others are not: exporters write -inf for lost tracking."""
    frames, refused = [], []
    for color, depth, path in files:
        try:
            pose = _as_rotation(read_pose(path))
            check_pose(pose)
            frames.append(_Files(color, depth, (depth.stem, color.stem, path.stem), pose))
        except InputError as error:
            refused.append(f"{error} (pose/{path.name})")
    return frames, refused


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


def _read_depth(path: Path, unit_m: float) -> NDArray[np.float32]:  # (H, W) metres
    with _readable(path):
        image = Image.open(path)
        values = np.asarray(image)
    if image.mode not in _DEPTH_MODES:
        channels = len(image.getbands())
        kind = {"P": "a palette of colours", "1": "1 bit", "L": "8 bits"}.get(
            image.mode, f"{channels} channels"
        )
        raise InputError(
            f"{path} is no depth image: it has {kind}, expected 16-bit grey (millimetres)"
        )
    try:
        depth_m = metres_of(values, unit_m)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if values.dtype.kind != "f":
        depth_m[values > _MAX_VALID] = np.nan
    return depth_m


def _size(path: Path) -> tuple[int, ...]:  # H, W
    with _readable(path), Image.open(path) as image:
        return image.size[::-1]


def _read_image(path: Path) -> NDArray[np.integer]:
    with _readable(path):
        return np.asarray(Image.open(path))


def _read_rgb(path: Path) -> Image.Image:
    with _readable(path):
        return as_rgb(Image.open(path))


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
