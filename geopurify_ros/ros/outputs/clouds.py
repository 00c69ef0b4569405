"""The point clouds of the node: voxel centres with colour, label and score."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from geopurify_ros.core.answers.palette import label_colors
from geopurify_ros.ros.outputs.point_cloud2 import create_cloud, dtype_from_fields

_XYZ_RGB = [
    PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
    for i, name in enumerate(("x", "y", "z", "rgb"))
]
_LABEL = [
    PointField(name="label", offset=16, datatype=PointField.UINT32, count=1),
    PointField(name="score", offset=20, datatype=PointField.FLOAT32, count=1),
]


def map_cloud(header: Header, centers_m: np.ndarray, rgb: np.ndarray) -> PointCloud2:
    """x y z (metres) and rgb of (V, 3) voxel centres and (V, 3) uint8 colours."""
    return _cloud(header, _XYZ_RGB, centers_m, rgb)


def labeled_cloud(
    header: Header,
    centers_m: np.ndarray,  # (V, 3)
    rgb: np.ndarray,  # (V, 3) uint8
    label: np.ndarray,  # (V,)
    score: np.ndarray,  # (V,)
) -> PointCloud2:
    """x y z, rgb (the colour of the label), label u32, score f32; all voxels."""
    extra = {"label": label, "score": score}
    return _cloud(header, _XYZ_RGB + _LABEL, centers_m, label_colors(label, rgb), extra)


def _cloud(header, fields, centers_m, rgb, extra=None) -> PointCloud2:
    points = np.empty(len(centers_m), dtype=dtype_from_fields(fields))
    for axis, name in enumerate("xyz"):
        points[name] = centers_m[:, axis]
    r, g, b = (rgb[:, i].astype(np.uint32) for i in range(3))
    points["rgb"] = ((r << 16) | (g << 8) | b).view(np.float32)
    for name, values in (extra or {}).items():
        points[name] = values
    cloud = create_cloud(header, fields, points)
    cloud.is_dense = True  # voxel centres are always finite
    return cloud
