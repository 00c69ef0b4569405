"""Images as image_transport compresses them: JPEG or PNG colour, 16-bit PNG depth."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geopurify_ros.data.messages import check_size, metres_from_mm, valid_metres
from geopurify_ros.errors import InputError

# compressed_depth_image_transport puts this in front of the PNG: an enum and two quantisation
# constants (float32), all little-endian.
_DEPTH_HEADER = np.dtype([("format", "<i4"), ("a", "<f4"), ("b", "<f4")])


def rgb_from_compressed(msg: Any) -> NDArray[np.uint8]:
    """(H, W, 3) of a colour sensor_msgs/CompressedImage (JPEG or PNG).

    Raises:
        InputError: not such an image, a damaged one, or one too large to be right.
    """
    picture = _open(bytes(msg.data), ("JPEG", "PNG"), msg.format)
    if picture.mode not in ("L", "RGB", "RGBA", "P"):
        raise InputError(f"format '{msg.format}' holds {picture.mode} pixels, expected colour")
    return np.array(_decoded(picture, msg.format).convert("RGB"))


def depth_from_compressed(msg: Any) -> NDArray[np.float32]:
    """(H, W) metres of a sensor_msgs/CompressedImage on <topic>/compressedDepth, NaN = none.

    Raises:
        InputError: not such an image, a damaged one, another codec than PNG, or one too large.
    """
    kind = msg.format.split(";")[0].strip()
    if kind not in ("16UC1", "32FC1") or "compressedDepth" not in msg.format:
        raise InputError(
            f"format '{msg.format}' is no compressed depth: expected "
            "'16UC1; compressedDepth' or '32FC1; compressedDepth'"
        )
    if "rvl" in msg.format.lower():
        raise InputError(
            f"format '{msg.format}' is RVL, which is not read: set the publisher's parameter "
            "<topic>.compressedDepth.format to png"
        )
    data = bytes(msg.data)
    if len(data) <= _DEPTH_HEADER.itemsize:
        raise InputError(f"{len(data)} bytes are too few for a compressed depth image")
    header = np.frombuffer(data, _DEPTH_HEADER, count=1)[0]
    picture = _open(data[_DEPTH_HEADER.itemsize :], ("PNG",), msg.format)
    if picture.mode not in ("I;16", "I"):
        raise InputError(f"the PNG holds {picture.mode} pixels, expected 16-bit grey")
    values = np.asarray(_decoded(picture, msg.format))
    return metres_from_mm(values) if kind == "16UC1" else _inverse_depth(values, header)


def _inverse_depth(values: NDArray[Any], header: Any) -> NDArray[np.float32]:
    """32FC1 is stored as a / depth + b."""
    a, b = float(header["a"]), float(header["b"])
    if not (np.isfinite(a) and np.isfinite(b) and a > 0):
        raise InputError(f"the quantisation constants {a}, {b} cannot be right")
    with np.errstate(divide="ignore", over="ignore"):
        depth_m = a / (values.astype(np.float64) - b)
    depth_m[values == 0] = np.nan
    return valid_metres(np.clip(depth_m, -1e6, 1e6))


def _open(data: bytes, formats: tuple[str, ...], said: str) -> Image.Image:
    """The header of a picture, checked before any pixel is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # we check the size
            picture = Image.open(io.BytesIO(data), formats=formats)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"format '{said}': the data is no {' or '.join(formats)} image"
        ) from error
    check_size(picture.height, picture.width)
    return picture


def _decoded(picture: Image.Image, said: str) -> Image.Image:
    try:
        picture.load()
    except Exception as error:  # damaged data: PIL's decoders raise what they like
        raise InputError(f"format '{said}': the image is damaged ({error})") from error
    return picture
