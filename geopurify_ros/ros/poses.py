"""Where the camera was when the image was taken."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import Pose, PoseStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node

from geopurify_ros.config import Config
from geopurify_ros.data.messages import stamp_ns
from geopurify_ros.data.transform_buffer import TransformBuffer
from geopurify_ros.errors import InputError
from geopurify_ros.ros.subscription import InputSubscription, TopicView
from geopurify_ros.ros.tf import make_tf_listener

# The moving link of a pose topic; a name no TF tree has.
_TRACKED = "geopurify_tracked_frame"


class PoseSource:
    """Poses from TF, PoseStamped or Odometry (parameter pose.source), all at the image stamp."""

    def __init__(self, node: Node, config: Config, refused: Callable[[str, str], None]) -> None:
        """Subscribe; `refused` hears topic and reason of each bad pose."""
        self._map_frame = config.map.frame
        self._refused = refused
        self._tf = make_tf_listener(node, refused)
        self._poses = TransformBuffer()
        self._reference_frame = ""  # header.frame_id of the pose topic
        self._child_frame = ""  # child_frame_id of the odometry
        self._subscription: InputSubscription | None = None
        kinds = {"pose": (PoseStamped, self._on_pose), "odom": (Odometry, self._on_odom)}
        if config.pose.source in kinds:
            kind, callback = kinds[config.pose.source]
            qos = ("qos.pose", config.qos.pose_reliability, config.qos.pose_queue)
            self._subscription = InputSubscription(
                node, "poses", config.pose.source, kind, config.pose.source, qos, callback
            )

    @property
    def topic(self) -> str:
        """Where the poses come from."""
        return self._subscription.topic if self._subscription else "/tf"

    def adapt(self) -> None:
        """Follow the publishers."""
        if self._subscription is not None:
            self._subscription.adapt()

    def view(self) -> TopicView | None:
        """What is known of the pose topic; None for TF."""
        return self._subscription.view() if self._subscription else None

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

    def between(self, target: str, source: str, time_ns: int) -> np.ndarray:
        """(4, 4) from frame `source` to `target`, from TF; TransformError where unknown."""
        return self._tf.lookup(target, source, time_ns)

    def chain(self, camera_frame: str) -> str:
        """The frames from the map to the camera, or where the chain is cut."""
        if self._subscription is None:
            return self._tf.describe(self._map_frame, camera_frame)
        reference = self._reference_frame or self._map_frame
        parts = []
        if reference != self._map_frame:
            parts.append(self._tf.describe(self._map_frame, reference))
        parts.append(f"{reference} <- {self._child_frame or camera_frame} ({self.topic})")
        if self._child_frame and self._child_frame != camera_frame:
            parts.append(self._tf.describe(self._child_frame, camera_frame))
        return "; ".join(parts)

    def clear(self) -> None:
        """Forget the past, as after a jump back in time."""
        self._tf.clear()
        self._poses.clear()

    def destroy(self) -> None:
        """End the subscriptions."""
        self._tf.destroy()
        if self._subscription is not None:
            self._subscription.destroy()

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
            self._refused(self.topic, str(error))
