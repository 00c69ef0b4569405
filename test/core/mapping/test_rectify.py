"""Lens undistortion and depth registration against plain per-pixel references."""

import numpy as np
import pytest

from geopurify_ros.core.mapping import rectify
from geopurify_ros.errors import InputError

K = np.array([[120.0, 0, 79.5], [0, 118.0, 59.5], [0, 0, 1]])
SIZE = (120, 160)
PLUMB_BOB = [-0.28, 0.09, 0.001, -0.002, 0.01]


def distorted_by_hand(u, v, d):
    """The plumb_bob formula as the calibration literature prints it."""
    k1, k2, p1, p2, k3 = d
    x, y = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
    r2 = x * x + y * y
    f = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    xd = x * f + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    yd = y * f + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return K[0, 0] * xd + K[0, 2], K[1, 1] * yd + K[1, 2]


def test_an_ideal_pixel_shows_what_the_lens_put_elsewhere():
    image = np.arange(SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)
    lens = rectify.check_distortion("plumb_bob", np.array(PLUMB_BOB))
    ideal = rectify.Undistortion(lens, K, SIZE).apply(image, np.nan)
    moved = 0
    for v in range(0, SIZE[0], 7):
        for u in range(0, SIZE[1], 7):
            ud, vd = (round(float(c)) for c in distorted_by_hand(u, v, PLUMB_BOB))
            inside = 0 <= ud < SIZE[1] and 0 <= vd < SIZE[0]
            expected = image[vd, ud] if inside else np.nan
            np.testing.assert_equal(ideal[v, u], expected)
            moved += (ud, vd) != (u, v)
    assert moved > 200, "the lens bends"


def test_an_edge_is_back_where_it_was():
    """The edge of a wall at column 20, seen through a barrel lens."""
    dense_u = np.linspace(0, SIZE[1] - 1, 1200)
    distorted = np.zeros(SIZE, np.uint8)
    for row in np.linspace(0, SIZE[0] - 1, 900):
        ud, vd = distorted_by_hand(dense_u, np.full_like(dense_u, row), PLUMB_BOB)
        distorted[vd.round().astype(int), ud.round().astype(int)] = 200 * (dense_u >= 20) + 20
    lens = rectify.check_distortion("plumb_bob", np.array(PLUMB_BOB))
    ideal = rectify.Undistortion(lens, K, SIZE).apply(distorted, 0)
    bent, straight = ([int(np.argmax(image[row] > 200)) for row in range(10, 110)]
                      for image in (distorted, ideal))
    assert abs(np.mean(bent) - 20) > 4, "the lens moved the edge by many pixels"
    assert np.ptp(straight) <= 3, "what is left is rounding"
    assert abs(np.mean(straight) - 20) < 0.5


def test_the_rational_model_with_no_denominator_is_plumb_bob():
    five = rectify.check_distortion("plumb_bob", np.array(PLUMB_BOB))
    eight = rectify.check_distortion("rational_polynomial", np.array([*PLUMB_BOB, 0, 0, 0]))
    np.testing.assert_array_equal(five, eight)


@pytest.mark.parametrize("model", ["plumb_bob", "rational_polynomial", "", "radtan",
                                   "Brown Conrady"])
@pytest.mark.parametrize("surplus", [0, 1, 3, 7, 9])
def test_surplus_zeros_are_no_other_model(model, surplus):
    """Drivers publish 8, 12 or 14 numbers, as their library holds them."""
    five = rectify.check_distortion("plumb_bob", np.array(PLUMB_BOB))
    filled = rectify.check_distortion(model, np.array([*PLUMB_BOB, *[0.0] * surplus]))
    np.testing.assert_array_equal(filled, five)
    four = rectify.check_distortion(model, np.array(PLUMB_BOB[:4]))
    np.testing.assert_array_equal(four, [*PLUMB_BOB[:4], *[0.0] * 8])


@pytest.mark.parametrize("model", ["plumb_bob", "rational_polynomial", ""])
def test_a_denominator_is_used_whatever_the_name(model):
    eight = np.array([*PLUMB_BOB, 0.2, -0.05, 0.01])
    for zeros in (0, 4, 6):
        lens = rectify.check_distortion(model, np.pad(eight, (0, zeros)))
        np.testing.assert_array_equal(lens[:8], eight)
        assert not lens[8:].any()


def test_a_thin_prism_moves_pixels_as_the_formula_says():
    """x'' += s1 r2 + s2 r4, y'' += s3 r2 + s4 r4."""
    d = np.array([0.0] * 8 + [0.05, 0.01, -0.04, 0.02])
    lens = rectify.check_distortion("rational_polynomial", np.pad(d, (0, 2)))
    image = np.arange(SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)
    ideal = rectify.Undistortion(lens, K, SIZE).apply(image, np.nan)
    for v, u in ((20, 30), (60, 80), (100, 40), (90, 130)):
        x, y = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
        r2 = x * x + y * y
        ud = round(K[0, 0] * (x + 0.05 * r2 + 0.01 * r2 * r2) + K[0, 2])
        vd = round(K[1, 1] * (y - 0.04 * r2 + 0.02 * r2 * r2) + K[1, 2])
        assert ideal[v, u] == image[vd, ud]


def test_a_tilted_sensor_is_refused_by_name():
    with pytest.raises(InputError, match="'rational_polynomial' has a tilted sensor"):
        rectify.check_distortion("rational_polynomial", np.array([*PLUMB_BOB, *[0.0] * 8, 0.1]))


@pytest.mark.parametrize(("model", "d"), [
    ("equidistant", [0.0] * 4), ("fisheye", []), ("mei", [0.1] * 4),
    ("Kannala-Brandt", [0.0] * 4), ("inverse_brown_conrady", [0.1] * 5)])
def test_other_models_are_refused_by_name(model, d):
    with pytest.raises(InputError, match=f"'{model}' is not supported"):
        rectify.check_distortion(model, np.array(d))


@pytest.mark.parametrize("d", [[0.1], [0.1] * 6, [0.1] * 11, [np.nan] * 5])
def test_coefficients_that_do_not_belong_are_refused(d):
    with pytest.raises(InputError, match="coefficients"):
        rectify.check_distortion("plumb_bob", np.array(d))


def test_coefficients_of_no_lens_are_refused():
    with pytest.raises(InputError, match="5 distortion coefficients do not belong"):
        rectify.check_distortion("none", np.array(PLUMB_BOB))


@pytest.mark.parametrize("model", ["plumb_bob", "", "none", "inverse_brown_conrady"])
def test_zero_coefficients_need_no_correction(model):
    assert not rectify.check_distortion(model, np.zeros(5)).any()


def shifted(x_m):
    T = np.eye(4)
    T[0, 3] = x_m
    return T


def test_registered_depth_of_a_wall_is_the_wall_without_holes():
    depth = np.full(SIZE, 2.0, np.float32)
    scale = rectify.color_scale(2 * K, K)
    assert 0.4 < scale < 0.5
    size = (round(240 * scale), round(320 * scale))
    color = rectify.scaled_intrinsics(np.diag([2, 2, 1]) @ K, (240, 320), size)
    registered = rectify.register_depth(depth, K, shifted(0.05), color, size)
    inner = registered[4:-4, 8:-4]
    np.testing.assert_allclose(inner, 2.0)


def test_the_nearest_surface_wins_and_points_land_where_they_project():
    depth = np.full((3, 3), np.nan, np.float32)
    depth[1, 1] = 2.0
    K3 = np.array([[10.0, 0, 1], [0, 10, 1], [0, 0, 1]])
    moved = rectify.register_depth(depth, K3, shifted(0.2), K3, (3, 3))
    assert np.argwhere(np.isfinite(moved)).tolist() == [[1, 2]]  # 10 * 0.2 / 2 = one pixel
    depth[1, 0] = 1.0  # at half the distance it moves by two, onto the same pixel
    moved = rectify.register_depth(depth, K3, shifted(0.2), K3, (3, 3))
    assert moved[1, 2] == 1.0


def test_nothing_behind_the_camera_and_nothing_from_nothing():
    depth = np.full(SIZE, 1.0, np.float32)
    behind = np.eye(4)
    behind[2, 3] = -3.0
    assert np.isnan(rectify.register_depth(depth, K, behind, K, SIZE)).all()
    empty = np.full(SIZE, np.nan, np.float32)
    assert np.isnan(rectify.register_depth(empty, K, np.eye(4), K, SIZE)).all()


def test_scaled_intrinsics_keep_the_corners_of_the_image():
    scaled = rectify.scaled_intrinsics(K, (120, 160), (60, 40))
    np.testing.assert_allclose((scaled[0, 2] + 0.5) / 40, (K[0, 2] + 0.5) / 160)
    np.testing.assert_allclose(scaled[1, 1], K[1, 1] / 2)
