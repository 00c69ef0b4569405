"""A ROS node that hears what the mapping node answers: python 03_listen.py, then ask."""

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2

from geopurify_ros.msg import QueryResult

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Listener(Node):  # says what was found, and how large it is
    def __init__(self) -> None:
        super().__init__("listener", namespace="geopurify")
        self.create_subscription(QueryResult, "query_result", self.on_result, 10)
        self.create_subscription(PointCloud2, "labeled_cloud", self.on_cloud, LATCHED)

    def on_result(self, msg: QueryResult) -> None:
        for one in msg.results:
            at, low, high = one.best_position, one.box_min, one.box_max
            found = f"at {at.x:.2f} {at.y:.2f} {at.z:.2f} m, {high.z - low.z:.2f} m high"
            print(f"{one.prompt}: {found if one.found else 'not there'}", flush=True)

    def on_cloud(self, msg: PointCloud2) -> None:
        names, places = zip(*((f.name, f.offset) for f in msg.fields), strict=True)
        kinds = ["u4" if name == "label" else "f4" for name in names]
        points = np.frombuffer(msg.data, np.dtype(
            dict(names=names, formats=kinds, offsets=places, itemsize=msg.point_step)))
        print(f"{(points['label'] > 0).sum()} of {len(points)} voxels are labelled", flush=True)


rclpy.init()
rclpy.spin(Listener())
