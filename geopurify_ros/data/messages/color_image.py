"""Colour from the bytes of raw images: every common sensor_msgs/image_encodings as RGB.

Only what a camera means as colour is here: 16UC1 is depth, whatever topic it comes on.
"""

from __future__ import annotations

import re

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import conv2d

from geopurify_ros.errors import InputError

# encoding -> channels, where red, green and blue are among them; 8UC3 is bgr8 to cv_bridge
_CHANNELS = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
    "8UC1": (1, (0, 0, 0)),
    "8UC3": (3, (2, 1, 0)),
    "8UC4": (4, (2, 1, 0)),
}
_WIDE = {name.replace("8", "16"): name for name in _CHANNELS if "UC" not in name}
# where Y, U and V are among the two bytes of a pixel, (Y, U, V) of four: Y0 and Y1 are two apart
_YUV422 = {"yuv422": (1, 0, 2), "uyvy": (1, 0, 2), "yuv422_yuy2": (0, 1, 3), "yuyv": (0, 1, 3),
           "yuy2": (0, 1, 3)}
_YUV420 = {"nv12": (0, 1), "nv21": (1, 0)}  # where U and V are in the second plane
_BAYER = re.compile("bayer_(rggb|bggr|gbrg|grbg)(8|16)")
_GREEN = [[0.0, 1, 0], [1, 4, 1], [0, 1, 0]]
_RED_OR_BLUE = [[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]
NAMES = (*_CHANNELS, *_WIDE, "bayer_*8", "bayer_*16", *_YUV422, *_YUV420)


def shape_of(encoding: str, height: int, width: int) -> tuple[int, int]:
    """Rows of an image's data and the bytes of each.

    Raises:
        InputError: an encoding that is no colour, or a size that it cannot have.
    """
    if encoding in _CHANNELS:
        return height, width * _CHANNELS[encoding][0]
    if encoding in _WIDE:
        return height, 2 * width * _CHANNELS[_WIDE[encoding]][0]
    if bayer := _BAYER.fullmatch(encoding):
        return height, width * int(bayer[2]) // 8
    if encoding not in _YUV422 and encoding not in _YUV420:
        raise InputError(f"encoding '{encoding}' is not a colour encoding: use {', '.join(NAMES)}")
    if width % 2 or (encoding in _YUV420 and height % 2):
        raise InputError(f"an image of {width} x {height} pixels cannot be {encoding}")
    return (height, 2 * width) if encoding in _YUV422 else (height + height // 2, width)


def rgb_of(
    encoding: str,
    rows: NDArray[np.uint8],  # as shape_of says
    is_bigendian: bool,
) -> NDArray[np.uint8]:
    """(H, W, 3) of the data of an image; 16 bits become the upper 8."""
    if encoding in _YUV422:
        return _rgb_of_yuv422(rows, *_YUV422[encoding])
    if encoding in _YUV420:
        return _rgb_of_yuv420(rows, *_YUV420[encoding])
    bayer = _BAYER.fullmatch(encoding)
    if encoding in _WIDE or (bayer and bayer[2] == "16"):
        rows = (rows.view(">u2" if is_bigendian else "<u2") >> 8).astype(np.uint8)
    if bayer:
        return demosaiced(rows, bayer[1])
    channels, order = _CHANNELS[_WIDE.get(encoding, encoding)]
    pixels = rows.reshape(len(rows), -1, channels)
    return np.ascontiguousarray(pixels[:, :, order])


def _rgb_of_yuv422(rows: NDArray[np.uint8], y: int, u: int, v: int) -> NDArray[np.uint8]:
    pairs = rows.reshape(len(rows), -1, 4)
    chroma = pairs[..., (u, v)].repeat(2, axis=1)
    return _rgb_of_yuv(pairs[..., y::2].reshape(len(rows), -1), chroma)


def _rgb_of_yuv420(rows: NDArray[np.uint8], u: int, v: int) -> NDArray[np.uint8]:
    height = len(rows) * 2 // 3
    chroma = rows[height:].reshape(height // 2, -1, 2)[..., (u, v)]
    return _rgb_of_yuv(rows[:height], chroma.repeat(2, axis=0).repeat(2, axis=1))


def _rgb_of_yuv(luma: NDArray[np.uint8], chroma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """BT.601 with the range of video (16 to 235), as cameras send it and OpenCV reads it."""
    y = 1.164 * (luma.astype(np.float32) - 16.0)
    u, v = (chroma[..., i].astype(np.float32) - 128.0 for i in (0, 1))
    rgb = np.stack((y + 1.596 * v, y - 0.813 * v - 0.391 * u, y + 2.018 * u), axis=-1)
    clipped: NDArray[np.uint8] = np.rint(rgb).clip(0, 255).astype(np.uint8)
    return clipped


def demosaiced(
    raw: NDArray[np.uint8],  # (H, W), one colour per pixel
    pattern: str,  # of the first two rows, "rggb"
) -> NDArray[np.uint8]:
    """(H, W, 3): each missing value is the mean of its nearest neighbours of that colour."""
    channel = np.array(["rgb".index(letter) for letter in pattern]).reshape(2, 2)
    height, width = raw.shape
    tiles = np.tile(channel, ((height + 1) // 2, (width + 1) // 2))[:height, :width]
    masks = torch.from_numpy(np.stack([tiles == c for c in range(3)])).float()
    kernels = torch.tensor([_RED_OR_BLUE, _GREEN, _RED_OR_BLUE])[:, None]
    known = torch.from_numpy(raw.astype(np.float32)) * masks
    weight = conv2d(masks, kernels, padding=1, groups=3)
    rgb = conv2d(known, kernels, padding=1, groups=3) / weight.clamp_min(1.0)
    return np.ascontiguousarray(rgb.round().byte().permute(1, 2, 0).numpy())
