"""Messages and arrays, there and back, through DDS serialisation."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header

from geopurify_ros.core.answers.palette import label_color
from geopurify_ros.data.messages import arrays
from geopurify_ros.data.messages.camera_info import intrinsics_from_info
from geopurify_ros.errors import InputError
from geopurify_ros.ros.outputs import clouds, to_messages
from geopurify_ros.ros.outputs.point_cloud2 import (
    blank_cloud,
    dtype_from_fields,
    own_dtype_from_fields,
    own_read_points,
    read_points,
)


def test_colour_image_round_trip():
    rgb = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    msg = to_messages.image_from_array(rgb, "rgb8", "camera", to_messages.stamp_msg(12))
    wire = deserialize_message(serialize_message(msg), Image)
    np.testing.assert_array_equal(arrays.rgb_from_image(wire), rgb)
    assert arrays.stamp_ns(wire.header.stamp) == 12


def test_rows_may_be_padded():
    rgb = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    msg = to_messages.image_from_array(rgb, "rgb8", "camera", to_messages.stamp_msg(0))
    padded = np.zeros((2, 12), np.uint8)
    padded[:, :9] = rgb.reshape(2, 9)
    msg.step, msg.data = 12, padded.tobytes()
    np.testing.assert_array_equal(arrays.rgb_from_image(msg), rgb)


def test_depth_units_and_missing_values():
    """16UC1: millimetres, 0 is missing; 32FC1: metres, NaN, Inf, 0 and negative are missing."""
    millimetres = np.array([[0, 1500], [250, 65535]], np.uint16)
    msg = to_messages.image_from_array(millimetres, "16UC1", "camera", to_messages.stamp_msg(0))
    np.testing.assert_allclose(
        arrays.depth_from_image(msg), [[np.nan, 1.5], [0.25, 65.535]], rtol=1e-6)
    metres = np.array([[np.nan, 1.5, np.inf], [-np.inf, -1.0, 0.0]], np.float32)
    msg = to_messages.image_from_array(metres, "32FC1", "camera", to_messages.stamp_msg(0))
    np.testing.assert_array_equal(
        arrays.depth_from_image(msg), [[np.nan, 1.5, np.nan], [np.nan] * 3])


def test_stamps_are_exact():
    for nanoseconds in (0, 999_999_999, 1_000_000_000, 1_795_264_810_565_090_579):
        assert arrays.stamp_ns(to_messages.stamp_msg(nanoseconds)) == nanoseconds


def test_uncalibrated_camera_info_is_refused():
    with pytest.raises(InputError, match="calibrated"):
        intrinsics_from_info(CameraInfo(), (48, 64))


def test_labelled_cloud_carries_all_fields():
    centers = np.array([[1.0, 2.0, 3.0], [-4.0, 5.0, -6.0]])
    rgb = np.array([[10, 20, 30], [200, 100, 50]], np.uint8)
    label, score = np.array([0, 2]), np.array([0.25, 0.75], np.float32)
    points = clouds.map_points(centers, rgb)
    made = clouds.labeled_cloud(Header(frame_id="map"), points, label, score)
    wire = deserialize_message(serialize_message(made), PointCloud2)
    points = read_points(wire)
    np.testing.assert_array_equal(np.stack([points[a] for a in "xyz"], axis=1), centers)
    np.testing.assert_array_equal(points["label"], label)
    np.testing.assert_array_equal(points["score"], score)
    packed = points["rgb"].copy().view(np.uint32)
    r, g, b = label_color(2)
    assert packed[1] == r << 16 | g << 8 | b
    assert {f.name: f.datatype for f in wire.fields}["rgb"] == PointField.FLOAT32
    assert wire.row_step == wire.point_step * wire.width == 48


def test_empty_cloud():
    points = clouds.map_points(np.zeros((0, 3)), np.zeros((0, 3), np.uint8))
    for made in (clouds.map_cloud(Header(), points),
                 clouds.labeled_cloud(Header(), points, np.zeros(0, int), np.zeros(0))):
        assert len(read_points(made)) == made.width == 0


def test_own_cloud_functions_equal_sensor_msgs_py():
    """Where the ROS package is installed it is used; ours give the same bytes and values."""
    upstream = pytest.importorskip(
        "sensor_msgs_py.point_cloud2", reason="needs a ROS 2 installation with sensor_msgs_py")
    fields = [PointField(name="x", offset=0, datatype=PointField.FLOAT32, count=1),
              PointField(name="label", offset=4, datatype=PointField.UINT32, count=1)]
    points = np.array([(1.5, 3), (-2.0, 4)], dtype=own_dtype_from_fields(fields))
    assert points.dtype == upstream.dtype_from_fields(fields)
    ours, data = blank_cloud(Header(), fields, len(points))
    data[:] = points
    theirs = upstream.create_cloud(Header(), fields, points)
    assert bytes(ours.data) == bytes(theirs.data)
    assert (ours.point_step, ours.row_step, ours.width) == (
        theirs.point_step, theirs.row_step, theirs.width)
    np.testing.assert_array_equal(own_read_points(theirs)["label"],
                                  upstream.read_points(theirs)["label"])


def test_cloud_fields_with_padding():
    fields = [PointField(name="x", offset=4, datatype=PointField.FLOAT32, count=1),
              PointField(name="n", offset=8, datatype=PointField.UINT16, count=2)]
    points = np.zeros(3, dtype_from_fields(fields, 16))
    points["x"], points["n_1"] = [1, 2, 3], [4, 5, 6]
    cloud = PointCloud2(height=1, width=3, fields=fields, point_step=16, row_step=48)
    cloud.data.frombytes(points.tobytes())
    np.testing.assert_array_equal(read_points(cloud)["n_1"], [4, 5, 6])
    np.testing.assert_array_equal(read_points(cloud, ["x"])["x"], [1, 2, 3])
