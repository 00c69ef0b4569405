"""Where the camera was when the image was taken."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import Pose, PoseStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data

from geopurify_ros.config import Config
from geopurify_ros.errors import InputError
from geopurify_ros.ros.convert import stamp_ns
from geopurify_ros.ros.tf import make_tf_listener
from geopurify_ros.ros.transform_buffer import TransformBuffer

# The moving link of a pose topic; a name no TF tree has.
_TRACKED = "geopurify_tracked_frame"


class PoseSource:
    """Poses from TF, PoseStamped or Odometry (parameter pose.source), all at the image stamp."""

    def __init__(self, node: Node, config: Config, refused: Callable[[str, str], None]) -> None:
        """Subscribe; `refused` hears topic and reason of each bad pose."""
        self._node = node
        self._map_frame = config.map.frame
        self._refused = refused
        self._tf = make_tf_listener(node, refused)
        self._poses = TransformBuffer()
        self._reference_frame = ""  # header.frame_id of the pose topic
        self._child_frame = ""  # child_frame_id of the odometry
        self._subscription = None
        if config.pose.source == "pose":
            self._subscription = self._subscribe(PoseStamped, "pose", self._on_pose)
        elif config.pose.source == "odom":
            self._subscription = self._subscribe(Odometry, "odom", self._on_odom)

    def _subscribe(self, kind, topic: str, callback):
        # best effort hears reliable publishers too
        return self._node.create_subscription(kind, topic, callback, qos_profile_sensor_data)

    def lookup(self, camera_frame: str, time_ns: int) -> np.ndarray:
        """T_map_camera (4, 4) float64 at a time.

        Raises:
            TransformError: not known at that time, or not yet.
        """
        if self._subscription is None:
            return self._tf.lookup(self._map_frame, camera_frame, time_ns)
        reference = self._reference_frame or self._map_frame
        pose = self._poses.lookup(reference, _TRACKED, time_ns)
        if reference != self._map_frame:
            pose = self._tf.lookup(self._map_frame, reference, time_ns) @ pose
        if self._child_frame and self._child_frame != camera_frame:
            pose = pose @ self._tf.lookup(self._child_frame, camera_frame, time_ns)
        return pose

    def clear(self) -> None:
        """Forget the past, as after a jump back in time."""
        self._tf.clear()
        self._poses.clear()

    def destroy(self) -> None:
        """End the subscriptions."""
        self._tf.destroy()
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)

    def _on_pose(self, msg: PoseStamped) -> None:
        self._take(msg.header, msg.pose)

    def _on_odom(self, msg: Odometry) -> None:
        self._child_frame = msg.child_frame_id.lstrip("/")
        self._take(msg.header, msg.pose.pose)

    def _take(self, header, pose: Pose) -> None:
        p, q = pose.position, pose.orientation
        reference = header.frame_id.lstrip("/") or self._map_frame
        try:
            self._poses.set(
                reference, _TRACKED, stamp_ns(header.stamp),
                (p.x, p.y, p.z), (q.x, q.y, q.z, q.w),
            )
            self._reference_frame = reference
        except InputError as error:
            self._refused(self._subscription.topic_name, str(error))
