"""Subscribes to whatever says where the camera was (parameter pose.source)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node

from geopurify_ros.config import Config
from geopurify_ros.data.messages.pose_track import PoseTrack
from geopurify_ros.errors import InputError
from geopurify_ros.ros.inputs.subscription import (
    InputSubscription,
    Publisher,
    TopicView,
    publishers_of,
)
from geopurify_ros.ros.inputs.tf_lookup import TOPIC, Refused, make_tf_listener
from geopurify_ros.ros.report import without_numbers


class PoseSource:
    """Poses from TF, PoseStamped or Odometry, all at the image stamp."""

    def __init__(self, node: Node, config: Config, refused: Refused) -> None:
        """Subscribe; `refused` hears topic, reason and kind of each bad pose."""
        self._node, self._refused = node, refused
        self._tf = make_tf_listener(node, refused)
        source, qos = config.pose.source, config.qos
        self._track = PoseTrack(self._tf, config.map.frame, has_topic=source != "tf")
        self._subscription: InputSubscription | None = None
        kinds = {"pose": (PoseStamped, self._track.take_pose),
                 "odom": (Odometry, self._track.take_odometry)}
        if source in kinds:
            kind, take = kinds[source]
            self._subscription = InputSubscription(
                node, "poses", source, kind, source,
                ("qos.pose", qos.pose_reliability, qos.pose_queue),
                lambda msg: self._take(take, msg),
            )

    @property
    def topic(self) -> str:
        """Where the poses come from."""
        return self._subscription.topic if self._subscription else self.tf_topic

    def adapt(self) -> None:
        """Follow the publishers."""
        if self._subscription is not None:
            self._subscription.adapt()

    def view(self) -> TopicView | None:
        """What is known of the pose topic; None for TF."""
        return self._subscription.view() if self._subscription else None

    @property
    def tf_topic(self) -> str:
        """What /tf is called for this node."""
        return self._node.resolve_topic_name(TOPIC)

    def tf_publishers(self) -> tuple[Publisher, ...]:
        """Who publishes /tf."""
        return publishers_of(self._node, self.tf_topic)

    def lookup(self, camera_frame: str, time_ns: int) -> np.ndarray:
        """T_map_camera (4, 4) float64 at a time; TransformError while it is not known."""
        return self._track.lookup(camera_frame, time_ns)

    def between(self, target: str, source: str, time_ns: int) -> np.ndarray:
        """(4, 4) from frame `source` to `target`, from TF; TransformError where unknown."""
        return self._tf.lookup(target, source, time_ns)

    def chain(self, camera_frame: str) -> str:
        """The frames from the map to the camera, or where the chain is cut."""
        return self._track.chain(camera_frame, self.topic)

    def rates_hz(self, camera_frame: str) -> dict[str, float]:
        """How often what moves on the way from the map to the camera came of late."""
        return self._track.rates_hz(camera_frame)

    def clear(self) -> None:
        """Forget the past, as after a jump back in time."""
        self._tf.clear()
        self._track.clear()

    def destroy(self) -> None:
        """End the subscriptions."""
        self._tf.destroy()
        if self._subscription is not None:
            self._subscription.destroy()

    def _take(self, take: Callable, msg) -> None:
        try:
            take(msg)
        except InputError as error:
            self._refused(self.topic, str(error), without_numbers(error))
