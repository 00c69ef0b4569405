"""The point clouds of the node: voxel centres with colour, label and score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from geopurify_ros.core.answers.palette import label_colors
from geopurify_ros.ros.outputs.point_cloud2 import blank_cloud

_XYZ_RGB = [
    PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
    for i, name in enumerate(("x", "y", "z", "rgb"))
]
_LABEL = [
    PointField(name="label", offset=16, datatype=PointField.UINT32, count=1),
    PointField(name="score", offset=20, datatype=PointField.FLOAT32, count=1),
]
# What lies in a message, in pieces that are copied as one.
XYZ_RGB = np.dtype([("xyz", "f4", 3), ("rgb", "u4")])
_ONE_PIECE = np.dtype("V16")
_LABELED = np.dtype([("xyz_rgb", _ONE_PIECE), ("label", "u4"), ("score", "f4")])


@dataclass(frozen=True)
class MapPoints:
    """What depends on the map alone of N points, packed as in messages.

    Attributes:
        xyz_rgb: (N,) of XYZ_RGB; metres, and the own colour.
        faint: (N,) uint32, the colour where the label is 0.
    """

    xyz_rgb: NDArray[np.void]
    faint: NDArray[np.uint32]

    def __len__(self) -> int:
        """Number of points N."""
        return len(self.faint)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> MapPoints:
        """Some of the points."""
        return MapPoints(self.xyz_rgb[rows], self.faint[rows])

    def __setitem__(self, rows: slice | NDArray[np.int64], points: MapPoints) -> None:
        """Other points in some rows."""
        self.xyz_rgb[rows], self.faint[rows] = points.xyz_rgb, points.faint


def map_points(centers_m: np.ndarray, rgb: np.ndarray) -> MapPoints:
    """Points of (N, 3) voxel centres in metres and (N, 3) uint8 colours."""
    xyz_rgb = np.empty(len(centers_m), XYZ_RGB)
    xyz_rgb["xyz"], xyz_rgb["rgb"] = centers_m, _packed(rgb)
    return MapPoints(xyz_rgb, _packed(label_colors(np.zeros(len(rgb), np.int64), rgb)))


def map_cloud(header: Header, points: MapPoints) -> PointCloud2:
    """x y z (metres) and rgb."""
    cloud, data = blank_cloud(header, _XYZ_RGB, len(points))
    data.view(_ONE_PIECE)[:] = points.xyz_rgb.view(_ONE_PIECE)
    return cloud


def labeled_cloud(
    header: Header,
    points: MapPoints,  # N
    label: np.ndarray,  # (N,) integers
    score: np.ndarray,  # (N,)
) -> PointCloud2:
    """x y z, rgb (the colour of the label), label u32, score f32."""
    cloud, data = blank_cloud(header, _XYZ_RGB + _LABEL, len(points))
    rows = data.view(_LABELED)
    rows["xyz_rgb"] = points.xyz_rgb.view(_ONE_PIECE)
    rows["label"], rows["score"] = label, score
    colors = _label_table(label).take(label)
    data["rgb"] = np.where(label == 0, points.faint, colors).view(np.float32)
    return cloud


def _label_table(label: np.ndarray) -> NDArray[np.uint32]:
    """Packed colours by label; that of 0 is not used."""
    names = np.arange(1, int(label.max(initial=0)) + 1)
    colors = label_colors(names, np.zeros((len(names), 3), np.uint8))
    return np.concatenate((np.zeros(1, np.uint32), _packed(colors)))


def _packed(rgb: np.ndarray) -> NDArray[np.uint32]:  # (N, 3) uint8 -> (N,)
    r, g, b = (rgb[:, i].astype(np.uint32) for i in range(3))
    return (r << 16) | (g << 8) | b
