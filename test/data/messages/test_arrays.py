"""Raw images in every encoding that drivers send, against plain per-pixel references."""

from __future__ import annotations

import colorsys
import io
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from geopurify_ros.data.messages.arrays import depth_from_image, rgb_from_image
from geopurify_ros.data.messages.color_image import demosaiced
from geopurify_ros.data.messages.compressed import depth_from_compressed, rgb_from_compressed
from geopurify_ros.errors import InputError

DEPTH_MM = np.array([[0, 1500, 250, 40], [4000, 65000, 1, 999]], np.uint16)
DEPTH_M = np.where(DEPTH_MM == 0, np.nan, DEPTH_MM / 1000)
RGB = np.array([[[200, 30, 40], [10, 220, 30]], [[20, 40, 210], [128, 128, 128]]], np.uint8)
RGB = RGB.repeat(4, axis=0).repeat(4, axis=1)  # (8, 8, 3): patches, that chroma may be shared


def image(pixels, encoding, size=None, step=None, big=0):
    height, width = size or pixels.shape[:2]
    data = np.ascontiguousarray(pixels).tobytes()
    step = len(data) // height if step is None else step
    return SimpleNamespace(height=height, width=width, encoding=encoding, step=step,
                           is_bigendian=big, data=data)


def yuv_of(rgb):
    """(H, W, 3) by the printed formulas of BT.601, range 16 to 235."""
    r, g, b = (rgb[..., i].astype(float) for i in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    u, v = 128 + 224 / 255 * (b - y) / 1.772, 128 + 224 / 255 * (r - y) / 1.402
    return np.stack((16 + y * 219 / 255, u, v), axis=-1).round().astype(np.uint8)


@pytest.mark.parametrize(("encoding", "dtype", "big"), [
    ("16UC1", "<u2", 0), ("16UC1", ">u2", 1), ("mono16", "<u2", 0), ("mono16", ">u2", 1),
    ("32SC1", "<i4", 0), ("32FC1", "<f4", 0), ("32FC1", ">f4", 1), ("64FC1", "<f8", 0),
    ("64FC1", ">f8", 1)])
def test_depth_in_every_encoding(encoding, dtype, big):
    values = DEPTH_M if "F" in encoding else DEPTH_MM
    found = depth_from_image(image(values.astype(dtype), encoding, big=big))
    np.testing.assert_allclose(found, DEPTH_M, rtol=1e-6)
    assert found.dtype == np.float32


def test_negative_depth_is_none():
    found = depth_from_image(image(np.array([[-5, 700]], "<i2"), "16SC1"))
    np.testing.assert_allclose(found, [[np.nan, 0.7]], rtol=1e-6)


@pytest.mark.parametrize(("factor", "unit_m"), [(1000, 0.001), (5000, 0.0002), (100, 0.01)])
def test_other_units_of_depth(factor, unit_m):
    metres = np.array([[0.5, 1.5], [2.0, 0.0]])
    expected = np.where(metres == 0, np.nan, metres)
    for dtype, encoding in (("<u2", "16UC1"), ("<f4", "32FC1"), ("<f8", "64FC1")):
        found = depth_from_image(image((metres * factor).astype(dtype), encoding), unit_m)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("encoding", ["32FC1", "64FC1"])
def test_millimetres_in_floating_point_are_recognised(encoding):
    values = np.full((16, 16), 1830.0, {"32FC1": "<f4", "64FC1": "<f8"}[encoding])
    values[:5] = np.nan
    with pytest.raises(InputError, match=r"beyond 1830 m.*camera\.depth_unit_m to 0\.001"):
        depth_from_image(image(values, encoding))
    assert np.nanmax(depth_from_image(image(values, encoding), 0.001)) == np.float32(1.83)


@pytest.mark.parametrize("encoding", ["8UC1", "mono8", "rgb8", "16UC3", ""])
def test_what_is_no_depth_is_refused(encoding):
    with pytest.raises(InputError, match="is not a depth encoding"):
        depth_from_image(image(np.zeros((2, 2), np.uint8), encoding))


@pytest.mark.parametrize(("encoding", "order"), [
    ("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("8UC3", [2, 1, 0]), ("rgba8", [0, 1, 2, 0]),
    ("bgra8", [2, 1, 0, 0]), ("8UC4", [2, 1, 0, 0])])
def test_colour_by_channels(encoding, order):
    np.testing.assert_array_equal(rgb_from_image(image(RGB[..., order], encoding)), RGB)
    if "UC" not in encoding:
        wide, name = RGB[..., order].astype(np.uint16) * 257, encoding.replace("8", "16")
        for big, kind in enumerate(("<u2", ">u2")):
            found = rgb_from_image(image(wide.astype(kind), name, big=big))
            np.testing.assert_array_equal(found, RGB)


@pytest.mark.parametrize(("encoding", "dtype", "factor"), [
    ("mono8", "u1", 1), ("8UC1", "u1", 1), ("mono16", "<u2", 256)])
def test_grey(encoding, dtype, factor):
    grey = RGB[..., 0]
    found = rgb_from_image(image((grey.astype(np.uint32) * factor).astype(dtype), encoding))
    np.testing.assert_array_equal(found, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize(("encoding", "luma", "blue", "red"), [
    ("yuv422", (1, 3), 0, 2), ("uyvy", (1, 3), 0, 2), ("yuv422_yuy2", (0, 2), 1, 3),
    ("yuyv", (0, 2), 1, 3)])
def test_yuv_with_shared_chroma(encoding, luma, blue, red):
    yuv = yuv_of(RGB)
    packed = np.zeros((8, 4, 4), np.uint8)
    packed[..., luma[0]], packed[..., luma[1]] = yuv[:, ::2, 0], yuv[:, 1::2, 0]
    packed[..., blue], packed[..., red] = yuv[:, ::2, 1], yuv[:, ::2, 2]
    found = rgb_from_image(image(packed, encoding, size=(8, 8)))
    np.testing.assert_allclose(found.astype(int), RGB, atol=3)


@pytest.mark.parametrize(("encoding", "order"), [("nv12", (1, 2)), ("nv21", (2, 1))])
def test_yuv_in_two_planes(encoding, order):
    yuv = yuv_of(RGB)
    chroma = yuv[::2, ::2][..., order].reshape(4, 8)
    planes = np.concatenate((yuv[..., 0], chroma))
    found = rgb_from_image(image(planes, encoding, size=(8, 8), step=8))
    np.testing.assert_allclose(found.astype(int), RGB, atol=3)


def mosaic(rgb, pattern):
    raw = np.zeros(rgb.shape[:2], rgb.dtype)
    for i, letter in enumerate(pattern):
        raw[i // 2 :: 2, i % 2 :: 2] = rgb[i // 2 :: 2, i % 2 :: 2, "rgb".index(letter)]
    return raw


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_bayer_against_means_of_neighbours(pattern, size):
    """A missing value is the mean of the values of its colour that are nearest to it."""
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, size, dtype=np.uint8)
    found = demosaiced(raw, pattern)
    owner = np.array(["rgb".index(c) for c in pattern]).reshape(2, 2)
    for v, u, c in np.ndindex(*size, 3):
        near = [(abs(y - v) + abs(x - u), raw[y, x])
                for y in range(max(0, v - 1), min(size[0], v + 2))
                for x in range(max(0, u - 1), min(size[1], u + 2)) if owner[y % 2, x % 2] == c]
        nearest = min(distance for distance, _ in near)
        expected = np.mean([value for distance, value in near if distance == nearest])
        assert abs(found[v, u, c] - expected) <= 0.5


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_messages(pattern):
    hue = np.array([colorsys.hsv_to_rgb(0.2 + x / 80, 0.5, 0.7) for x in range(16)])
    rgb = np.tile((hue * 255).astype(np.uint8), (12, 1, 1))
    raw = mosaic(rgb, pattern)
    eight = rgb_from_image(image(raw, f"bayer_{pattern}8"))
    np.testing.assert_allclose(eight[1:-1, 1:-1].astype(int), rgb[1:-1, 1:-1], atol=4)
    wide = rgb_from_image(image((raw.astype("<u2") << 8), f"bayer_{pattern}16"))
    np.testing.assert_array_equal(wide, eight)


@pytest.mark.parametrize("step", [0, 8, 23, 25, 32, 4000])
def test_data_without_padding_fits_whatever_step_says(step):
    np.testing.assert_array_equal(rgb_from_image(image(RGB, "rgb8", step=step)), RGB)


@pytest.mark.parametrize(("changes", "reason"), [
    ({"encoding": "jpeg"}, "'jpeg' is not a colour encoding"),
    ({"encoding": "16UC1"}, "'16UC1' is not a colour encoding"),
    ({"encoding": "bgr8", "data": bytes(8 * 24 - 1)}, "191 bytes of data"),
    ({"step": 20, "data": bytes(160)}, "step 20 is less than the 24 bytes"),
    ({"encoding": "uyvy", "width": 7}, "7 x 8 pixels cannot be uyvy"),
    ({"encoding": "nv12", "height": 7}, "8 x 7 pixels cannot be nv12"),
    ({"encoding": "yuyv", "width": 0}, "0 x 8 pixels cannot be right"),
])
def test_what_cannot_be_taken_is_refused(changes, reason):
    message = image(RGB, "rgb8")
    vars(message).update(changes)
    with pytest.raises(InputError, match=reason):
        rgb_from_image(message)


def packed(pixels, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(("form", "header"), [
    ("16UC1; png compressed ", b""), ("mono16; png compressed mono16", b""), ("png", b""),
    ("", b""), ("16UC1; compressedDepth", struct.pack("<iff", 0, 0.0, 0.0)),
    ("mono16; compressedDepth png", struct.pack("<iff", 0, 0.0, 0.0))])
def test_png_depth_is_lossless_wherever_it_comes(form, header):
    message = SimpleNamespace(format=form, data=header + packed(DEPTH_MM))
    np.testing.assert_allclose(depth_from_compressed(message), DEPTH_M, rtol=1e-6)
    message.data = header + packed((DEPTH_MM // 2 * 2).astype(np.uint16))
    assert depth_from_compressed(message, 0.0005)[0, 1] == np.float32(0.75)


@pytest.mark.parametrize(("form", "data", "reason"), [
    ("16UC1; jpeg compressed ", packed(RGB[..., 0], "JPEG"), "depth as JPEG.*compressedDepth"),
    ("16UC1; png compressed ", packed(RGB[..., 0]), "holds L pixels, expected 16-bit"),
    ("rgb8; png compressed bgr8", packed(RGB), "is no compressed depth"),
    ("32FC1; tiff compressed ", b"II*\0", "is no compressed depth")])
def test_depth_that_lost_its_numbers_is_refused(form, data, reason):
    with pytest.raises(InputError, match=reason):
        depth_from_compressed(SimpleNamespace(format=form, data=data))


def test_compressed_grey_of_16_bits_is_scaled():
    grey = (RGB[..., 0].astype(np.uint16) << 8) + 77
    message = SimpleNamespace(format="mono16; png compressed", data=packed(grey))
    found = rgb_from_compressed(message)
    np.testing.assert_array_equal(found, RGB[..., :1].repeat(3, axis=2))
