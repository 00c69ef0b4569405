"""Images as image_transport compresses them: JPEG or PNG colour, 16-bit PNG depth."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geopurify_ros.data.messages.arrays import check_size, metres_of
from geopurify_ros.errors import InputError

# compressed_depth_image_transport puts this in front of the PNG: an enum and two quantisation
# constants (float32), all little-endian.
_DEPTH_HEADER = np.dtype([("format", "<i4"), ("a", "<f4"), ("b", "<f4")])
_WIDE_GREY = ("I;16", "I;16B", "I")
COLOR_MODES = ("L", "LA", "RGB", "RGBA", "P", *_WIDE_GREY)
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG"
_PLAIN_FORMATS = ("16UC1", "mono16", "png", "")  # what publishers call a 16-bit PNG


def rgb_from_compressed(msg: Any) -> NDArray[np.uint8]:
    """(H, W, 3) of a colour sensor_msgs/CompressedImage (JPEG or PNG).

    Raises:
        InputError: not such an image, a damaged one, or one too large to be right.
    """
    picture = _open(bytes(msg.data), ("JPEG", "PNG"), msg.format)
    if picture.mode not in COLOR_MODES:
        raise InputError(f"format '{msg.format}' holds {picture.mode} pixels, expected colour")
    return np.array(as_rgb(_decoded(picture, msg.format)))


def as_rgb(picture: Image.Image) -> Image.Image:
    """A picture of one of COLOR_MODES in RGB; of 16-bit grey the upper 8 bits."""
    if picture.mode not in _WIDE_GREY:
        return picture.convert("RGB")
    values = np.asarray(picture)
    return Image.fromarray((values >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")


def depth_from_compressed(msg: Any, unit_m: float = 0.0) -> NDArray[np.float32]:
    """(H, W) metres of a depth sensor_msgs/CompressedImage, NaN = none.

    Of <topic>/compressedDepth, or a 16-bit PNG of <topic>/compressed, which keeps every number.
    `unit_m` is that of metres_of.

    Raises:
        InputError: not such an image, a damaged one, another codec than PNG, or one too large.
    """
    data = bytes(msg.data)
    if "compressedDepth" not in msg.format:
        return metres_of(_plain_depth(data, msg.format), unit_m)
    kind = msg.format.split(";")[0].strip()
    if kind not in ("16UC1", "mono16", "32FC1"):
        raise InputError(
            f"format '{msg.format}' is no compressed depth: expected "
            "'16UC1; compressedDepth' or '32FC1; compressedDepth'"
        )
    if "rvl" in msg.format.lower():
        raise InputError(
            f"format '{msg.format}' is RVL, which is not read: set the publisher's parameter "
            "<topic>.compressedDepth.format to png"
        )
    if len(data) <= _DEPTH_HEADER.itemsize:
        raise InputError(f"{len(data)} bytes are too few for a compressed depth image")
    header = np.frombuffer(data, _DEPTH_HEADER, count=1)[0]
    values = _png_values(data[_DEPTH_HEADER.itemsize :], msg.format)
    if kind == "32FC1":
        values = _inverse_depth(values, header)
    return metres_of(values, unit_m)


def _plain_depth(data: bytes, said: str) -> NDArray[Any]:
    """The numbers of a PNG without header, as image_transport's `compressed` writes it."""
    if data.startswith(_JPEG):
        raise InputError(
            f"format '{said}' is depth as JPEG, whose numbers are lost: record or subscribe to "
            "<topic>/compressedDepth, or the raw topic"
        )
    if said.split(";")[0].strip() not in _PLAIN_FORMATS or not data.startswith(_PNG):
        raise InputError(
            f"format '{said}' is no compressed depth: expected '16UC1; compressedDepth', "
            "'32FC1; compressedDepth' or '16UC1; png compressed'"
        )
    return _png_values(data, said)


def _png_values(data: bytes, said: str) -> NDArray[Any]:
    picture = _open(data, ("PNG",), said)
    if picture.mode not in ("I;16", "I"):
        raise InputError(f"the PNG holds {picture.mode} pixels, expected 16-bit grey")
    return np.asarray(_decoded(picture, said))


def _inverse_depth(values: NDArray[Any], header: Any) -> NDArray[np.float64]:
    """32FC1 is stored as a / depth + b."""
    a, b = float(header["a"]), float(header["b"])
    if not (np.isfinite(a) and np.isfinite(b) and a > 0):
        raise InputError(f"the quantisation constants {a}, {b} cannot be right")
    with np.errstate(divide="ignore", over="ignore"):
        depth: NDArray[np.float64] = np.clip(a / (values.astype(np.float64) - b), -1e9, 1e9)
    depth[values == 0] = np.nan
    return depth


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
