"""sensor_msgs_py.point_cloud2 where it is installed, otherwise the part of it used here."""

from __future__ import annotations

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


def blank_cloud(header, fields, width):
    """A dense cloud of so many points, and the structured array (width,) that is its data.

    The array is to be filled: what is written into it is in the message, without a copy.
    """
    dtype = dtype_from_fields(fields)
    cloud = PointCloud2(
        header=header,
        height=1,
        width=width,
        fields=fields,
        is_dense=True,
        is_bigendian=sys.byteorder != "little",
        point_step=dtype.itemsize,
        row_step=dtype.itemsize * width,
    )
    cloud.data.frombytes(bytes(dtype.itemsize * width))  # in place: the setter copies
    return cloud, np.ndarray(width, dtype, cloud.data)


def own_read_points(cloud, field_names=None):
    """A structured array that shares the memory of cloud.data."""
    points = np.ndarray(
        cloud.width * cloud.height,
        own_dtype_from_fields(cloud.fields, cloud.point_step),
        cloud.data,
    )
    return points if field_names is None else points[list(field_names)]


dtype_from_fields = upstream.dtype_from_fields if upstream else own_dtype_from_fields
read_points = upstream.read_points if upstream else own_read_points
