"""sensor_msgs_py.point_cloud2 where it is installed, otherwise the part of it used here."""

from __future__ import annotations

import array
import sys

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField

try:
    from sensor_msgs_py import point_cloud2 as upstream
except ImportError:
    upstream = None

_NUMPY = {
    PointField.INT8: "i1",
    PointField.UINT8: "u1",
    PointField.INT16: "i2",
    PointField.UINT16: "u2",
    PointField.INT32: "i4",
    PointField.UINT32: "u4",
    PointField.FLOAT32: "f4",
    PointField.FLOAT64: "f8",
}


def own_dtype_from_fields(fields, point_step=None):
    """The structured dtype of a point."""
    names, formats, offsets = [], [], []
    for field in fields:
        kind = np.dtype(_NUMPY[field.datatype])
        for k in range(field.count):
            names.append(field.name if field.count == 1 else f"{field.name}_{k}")
            formats.append(kind.str)
            offsets.append(field.offset + k * kind.itemsize)
    spec = {"names": names, "formats": formats, "offsets": offsets}
    return np.dtype(spec if point_step is None else {**spec, "itemsize": point_step})


def own_create_cloud(header, fields, points, point_step=None):
    """A cloud of a 1-D structured array whose dtype is dtype_from_fields(fields)."""
    if points.dtype != own_dtype_from_fields(fields, point_step) or points.ndim != 1:
        raise ValueError("points do not have the layout of fields")
    cloud = PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=fields,
        is_dense=False,
        is_bigendian=sys.byteorder != "little",
        point_step=points.dtype.itemsize,
        row_step=points.dtype.itemsize * len(points),
    )
    data = array.array("B")
    data.frombytes(memoryview(np.ascontiguousarray(points)).cast("B"))
    cloud.data = data  # not in the constructor: that walks the array item by item
    return cloud


def own_read_points(cloud, field_names=None):
    """A structured array that shares the memory of cloud.data."""
    points = np.ndarray(
        cloud.width * cloud.height,
        own_dtype_from_fields(cloud.fields, cloud.point_step),
        cloud.data,
    )
    return points if field_names is None else points[list(field_names)]


create_cloud = upstream.create_cloud if upstream else own_create_cloud
dtype_from_fields = upstream.dtype_from_fields if upstream else own_dtype_from_fields
read_points = upstream.read_points if upstream else own_read_points
