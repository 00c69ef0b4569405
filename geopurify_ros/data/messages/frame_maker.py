"""From the messages of one moment to a checked RgbdFrame; each error names its topic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geopurify_ros.config import CameraConfig
from geopurify_ros.core.mapping import rectify
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.data.messages.arrays import (
    depth_from_image,
    rgb_from_image,
    stamp_ns,
)
from geopurify_ros.data.messages.camera_info import image_sizes, intrinsics_from_info, region_of
from geopurify_ros.data.messages.compressed import depth_from_compressed, rgb_from_compressed
from geopurify_ros.errors import GeoPurifyError, InputError

_SAME_FOCUS = 0.1  # share by which focal lengths of one camera differ at most
_T = TypeVar("_T")


@dataclass(frozen=True)
class Topics:
    """Full names of the inputs, for the sentences."""

    rgb: str
    depth: str
    info: str
    depth_info: str


@dataclass(frozen=True)
class Shot:
    """The messages of one moment and where the cameras were.

    Attributes:
        rgb, depth: sensor_msgs Image or CompressedImage, as the configuration says.
        info, depth_info: sensor_msgs CameraInfo; depth_info only where depth is not registered.
        T_map_color: (4, 4) pose of the colour camera's optical frame.
        T_color_depth: (4, 4) pose of the depth camera in it; where depth is not registered.
    """

    rgb: Any
    depth: Any
    info: Any
    T_map_color: NDArray[np.float64]
    depth_info: Any = None
    T_color_depth: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class _Lens:
    """What a CameraInfo says, kept as long as it says the same."""

    key: tuple[Any, ...]
    intrinsics: NDArray[np.float64]
    undistortion: rectify.Undistortion | None
    unseen: NDArray[np.bool_] | None  # (H, W), ideal pixels that the lens saw nothing of


class FrameMaker:
    """Decodes, undistorts and registers; not thread-safe."""

    def __init__(self, config: CameraConfig, topics: Topics) -> None:
        """For images that come as `config` says."""
        self._config, self._topics = config, topics
        self._lenses: dict[str, _Lens] = {}  # by topic

    def make(self, shot: Shot) -> RgbdFrame:
        """The frame of one moment.

        Raises:
            InputError: something does not fit; the sentence begins with the guilty topic.
        """
        topics, config = self._topics, self._config
        decode_rgb = rgb_from_image if config.rgb_transport == "raw" else rgb_from_compressed
        decode_depth = (
            depth_from_image if config.depth_transport == "raw" else depth_from_compressed
        )
        rgb = _named(topics.rgb, decode_rgb, shot.rgb)
        depth_m = _named(topics.depth, decode_depth, shot.depth, config.depth_unit_m)
        lens = self._lens(topics.rgb, _size(rgb), topics.info, shot.info)
        rgb = _ideal(lens, rgb, 0)
        stamp = stamp_ns(shot.rgb.header.stamp)
        if config.depth_registered:
            lens = self._lens(topics.depth, _size(depth_m), topics.info, shot.info)
            self._check_registered(lens, shot, _size(depth_m))
            depth_m = _ideal_depth(lens, depth_m)
            return RgbdFrame(rgb, depth_m, lens.intrinsics, shot.T_map_color, stamp)
        depth_lens = self._lens(
            topics.depth, _size(depth_m), topics.depth_info, shot.depth_info
        )
        depth_m = _ideal_depth(depth_lens, depth_m)
        assert shot.T_color_depth is not None
        rgb, depth_m, intrinsics = _registered(
            rgb, lens, depth_m, depth_lens.intrinsics, shot.T_color_depth
        )
        return RgbdFrame(rgb, depth_m, intrinsics, shot.T_map_color, stamp)

    def _lens(self, topic: str, size: tuple[int, int], info_topic: str, info: Any) -> _Lens:
        """The lens that `info` describes, once it is known to describe this image."""
        known = image_sizes(info)
        if size not in known:
            advice = ""
            if topic == self._topics.depth and self._config.depth_registered:
                advice = ": publish registered depth, or set camera.depth_registered to false"
            says = " or ".join(f"{width} x {height}" for height, width in known)
            raise InputError(
                f"{topic}: the image is {size[1]} x {size[0]}, {info_topic} says {says}{advice}"
            )
        key = (
            size, info.height, info.width, info.distortion_model, tuple(info.k), tuple(info.d),
            tuple(info.p), tuple(getattr(info, "r", ())), region_of(info),
        )
        kept = self._lenses.get(info_topic)
        if kept is None or kept.key != key:
            kept = _named(info_topic, _make_lens, key, info, size, self._config.rectified)
            self._lenses[info_topic] = kept
        return kept

    def _check_registered(self, lens: _Lens, shot: Shot, size: tuple[int, int]) -> None:
        """Depth that has its own camera info, of another camera than colour, is not registered."""
        info, topics = shot.depth_info, self._topics
        if info is None or info.header.frame_id != shot.depth.header.frame_id:
            return
        own = self._lens(topics.depth, size, topics.depth_info, info).intrinsics
        ratio = own[[0, 1], [0, 1]] / lens.intrinsics[[0, 1], [0, 1]]
        if np.abs(ratio - 1).max() > _SAME_FOCUS:
            raise InputError(
                f"{topics.depth}: fx = {own[0, 0]:g} in {topics.depth_info}, but colour has "
                f"{lens.intrinsics[0, 0]:g} ({topics.info}): depth does not lie on the pixels of "
                "colour, publish registered depth, or set camera.depth_registered to false"
            )


def _make_lens(
    key: tuple[Any, ...], info: Any, size: tuple[int, int], rectified: bool
) -> _Lens:
    """Of the images as they come, or as image_proc has undistorted them."""
    if rectified:
        return _make_rectified(key, info, size)
    intrinsics = intrinsics_from_info(info, size, False)
    coefficients = np.asarray(info.d, dtype=np.float64)
    lens = rectify.check_distortion(info.distortion_model, coefficients)
    undistortion = rectify.Undistortion(lens, intrinsics, size) if lens.any() else None
    unseen = None if undistortion is None else undistortion.unseen
    return _Lens(key, intrinsics, undistortion, unseen)


def _make_rectified(key: tuple[Any, ...], info: Any, size: tuple[int, int]) -> _Lens:
    """Of images that image_proc has undistorted.

    Where K and D still tell the lens that was there, they tell what it did not see: black.
    """
    projection = intrinsics_from_info(info, size, True)
    try:
        intrinsics = intrinsics_from_info(info, size, False)
        lens = rectify.check_distortion(info.distortion_model, np.asarray(info.d, np.float64))
    except InputError:  # of a lens that we do not know, or that is not told: see it all
        return _Lens(key, projection, None, None)
    if not lens.any():
        return _Lens(key, projection, None, None)
    rotation = np.array(getattr(info, "r", ()), dtype=np.float64)
    turn = rotation.reshape(3, 3) if rotation.any() else np.eye(3)
    unseen = rectify.Undistortion(lens, intrinsics, size, projection @ turn).unseen
    return _Lens(key, projection, None, unseen)


def _size(image: NDArray[Any]) -> tuple[int, int]:
    return image.shape[0], image.shape[1]


def _ideal(lens: _Lens, image: NDArray[Any], outside: float) -> NDArray[Any]:
    return image if lens.undistortion is None else lens.undistortion.apply(image, outside)


def _ideal_depth(lens: _Lens, depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """No depth where the lens saw nothing, whoever undistorted the image."""
    ideal = _ideal(lens, depth_m, np.nan)
    return ideal if lens.unseen is None else np.where(lens.unseen, np.float32(np.nan), ideal)


def _registered(
    rgb: NDArray[np.uint8],
    lens: _Lens,
    depth_m: NDArray[np.float32],
    depth_intrinsics: NDArray[np.float64],
    T_color_depth: NDArray[np.float64],
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float64]]:
    """Colour, depth on its pixels and their camera matrix; colour shrinks to depth's detail."""
    size, intrinsics, unseen = (rgb.shape[0], rgb.shape[1]), lens.intrinsics, lens.unseen
    scale = rectify.color_scale(intrinsics, depth_intrinsics)
    if scale < 1.0:
        smaller = (max(1, round(scale * size[0])), max(1, round(scale * size[1])))
        picture = Image.fromarray(rgb).resize(smaller[::-1], Image.Resampling.BOX)
        if unseen is not None:  # a pixel that is mixed with black shows nothing either
            mask = Image.fromarray(unseen.astype(np.float32))
            unseen = np.array(mask.resize(smaller[::-1], Image.Resampling.BOX)) > 0
        intrinsics = rectify.scaled_intrinsics(intrinsics, size, smaller)
        rgb, size = np.array(picture), smaller
    registered = rectify.register_depth(
        depth_m, depth_intrinsics, T_color_depth, intrinsics, size
    )
    if unseen is not None:
        registered[unseen] = np.nan
    return rgb, registered, intrinsics


def _named(topic: str, convert: Callable[..., _T], *arguments: Any) -> _T:
    try:
        return convert(*arguments)
    except GeoPurifyError as error:
        raise InputError(f"{topic}: {error}") from error
