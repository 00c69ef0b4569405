"""Packing a labelled cloud, for `geopurify bench`: the node's way and the plain one."""

from __future__ import annotations

import struct

import numpy as np
from std_msgs.msg import Header

from geopurify_ros.core.answers.palette import label_colors
from geopurify_ros.ros.outputs.clouds import labeled_cloud, map_points


def pack(
    centers: np.ndarray, rgb: np.ndarray, label: np.ndarray, score: np.ndarray
) -> bytes | memoryview:
    """The data of the message that the node publishes."""
    return memoryview(labeled_cloud(Header(), map_points(centers, rgb), label, score).data)


def plain_pack(
    centers: np.ndarray, rgb: np.ndarray, label: np.ndarray, score: np.ndarray
) -> bytes:
    """The same bytes point by point."""
    colors = label_colors(label, rgb).tolist()
    rows = zip(centers.tolist(), colors, label.tolist(), score.tolist(), strict=True)
    return b"".join(
        struct.pack("<fffIIf", x, y, z, r << 16 | g << 8 | b, name, value)
        for (x, y, z), (r, g, b), name, value in rows
    )
