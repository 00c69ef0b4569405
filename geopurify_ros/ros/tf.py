"""TF at a stamp: tf2_ros where it is installed, our buffer otherwise, behind one lookup()."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from tf2_msgs.msg import TFMessage

from geopurify_ros.data.messages import matrix_from_pose
from geopurify_ros.data.transform_buffer import TransformBuffer
from geopurify_ros.errors import InputError, TransformError
from geopurify_ros.ros.report import without_numbers

try:
    import tf2_ros
except ImportError:
    tf2_ros = None


Refused = Callable[[str, str, str], None]  # topic, sentence, kind of a bad pose


class OwnListener:
    """Fills a TransformBuffer from /tf and /tf_static."""

    def __init__(self, node: Node, refused: Refused) -> None:
        """Subscribe; `refused` hears topic, reason and kind of each bad transform."""
        self._node = node
        self._buffer = TransformBuffer()
        self._refused = refused
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._subscriptions = [
            node.create_subscription(TFMessage, "/tf", lambda m: self._take(m, "/tf"), 100),
            node.create_subscription(
                TFMessage, "/tf_static", lambda m: self._take(m, "/tf_static"), latched
            ),
        ]

    def _take(self, msg: TFMessage, topic: str) -> None:
        for transform in msg.transforms:
            try:
                self._buffer.set_transform(transform, static=topic == "/tf_static")
            except InputError as error:
                sentence = f"'{transform.child_frame_id}': {error}"
                self._refused(topic, sentence, without_numbers(sentence))

    def lookup(self, target: str, source: str, time_ns: int) -> np.ndarray:
        """(4, 4) that takes points of `source` into `target`; TransformError if unknown."""
        return self._buffer.lookup(target, source, time_ns)

    def describe(self, target: str, source: str) -> str:
        """The frames between the two, or where the tree is cut."""
        return self._buffer.describe(target, source)

    def clear(self) -> None:
        """Forget what moved; static transforms stay."""
        self._buffer.clear()

    def destroy(self) -> None:
        """End the subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)


class Tf2Listener:
    """The same over tf2_ros.Buffer."""

    def __init__(self, node: Node) -> None:
        """Start tf2's own listener; it lives on the node's executor."""
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node, spin_thread=False)

    def lookup(self, target: str, source: str, time_ns: int) -> np.ndarray:
        """(4, 4) that takes points of `source` into `target`; TransformError if unknown."""
        try:
            found = self._buffer.lookup_transform(target, source, Time(nanoseconds=time_ns))
        except tf2_ros.TransformException as error:
            raise TransformError(str(error)) from error
        t, q = found.transform.translation, found.transform.rotation
        return matrix_from_pose((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))

    def describe(self, target: str, source: str) -> str:
        """The frames between the two, or where the tree is cut."""
        try:
            self._buffer.lookup_transform(target, source, Time())
        except tf2_ros.TransformException as error:
            return str(error)
        return f"{target} <- {source}"

    def clear(self) -> None:
        """Forget everything, as tf2 does on a jump back in time."""
        self._buffer.clear()

    def destroy(self) -> None:
        """End the subscriptions."""
        self._listener.unregister()


def make_tf_listener(node: Node, refused: Refused):
    """tf2_ros's listener on a ROS machine, ours elsewhere."""
    return Tf2Listener(node) if tf2_ros is not None else OwnListener(node, refused)
