"""TF at a stamp: tf2_ros where it is installed, our buffer otherwise, behind one lookup()."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import SimpleNamespace

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from tf2_msgs.msg import TFMessage

from geopurify_ros.data.messages.arrays import matrix_from_pose
from geopurify_ros.data.messages.transform_buffer import TransformBuffer
from geopurify_ros.errors import InputError, TransformError
from geopurify_ros.ros.report import without_numbers

try:
    import tf2_ros
except ImportError:
    tf2_ros = None

TOPIC, STATIC_TOPIC = "/tf", "/tf_static"  # before remapping
Refused = Callable[[str, str, str], None]  # topic, sentence, kind of a bad pose


class OwnListener:
    """Fills a TransformBuffer from /tf and /tf_static, as they are named for the node."""

    def __init__(self, node: Node, refused: Refused) -> None:
        """Subscribe; `refused` hears topic, reason and kind of each bad transform."""
        self._node = node
        self._buffer = ToldBuffer(node, refused)
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._subscriptions = [
            node.create_subscription(
                TFMessage, TOPIC, lambda m: self._buffer.take(m.transforms, False), 100
            ),
            node.create_subscription(
                TFMessage, STATIC_TOPIC, lambda m: self._buffer.take(m.transforms, True), latched
            ),
        ]

    def lookup(self, target: str, source: str, time_ns: int) -> np.ndarray:
        """(4, 4) that takes points of `source` into `target`; TransformError if unknown."""
        return self._buffer.lookup(target, source, time_ns)

    def describe(self, target: str, source: str) -> str:
        """The frames between the two, or where the tree is cut."""
        return self._buffer.describe(target, source)

    def rates_hz(self, target: str, source: str) -> dict[str, float]:
        """How often each moving link between the two came of late."""
        return self._buffer.rates_hz(target, source)

    def clear(self) -> None:
        """Forget what moved; static transforms stay."""
        self._buffer.clear()

    def destroy(self) -> None:
        """End the subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)


class ToldBuffer(TransformBuffer):
    """A TransformBuffer that tells of transforms it cannot use."""

    def __init__(self, node: Node, refused: Refused) -> None:
        """Empty; `refused` hears topic, reason and kind of each bad transform."""
        super().__init__()
        self._topics = [node.resolve_topic_name(name) for name in (TOPIC, STATIC_TOPIC)]
        self._refused = refused

    def take(self, transforms: Iterable[TransformStamped], static: bool) -> None:
        """Take what is good."""
        for transform in transforms:
            try:
                self.set_transform(transform, static)
            except InputError as error:
                sentence = f"'{transform.child_frame_id}': {error}"
                self._refused(self._topics[static], sentence, without_numbers(sentence))


class Tf2Listener:
    """Poses from tf2_ros.Buffer; a buffer of our own beside it says why there is none."""

    def __init__(self, node: Node, refused: Refused) -> None:
        """Start tf2's own listener; it lives on the node's executor."""
        self._buffer = tf2_ros.Buffer()
        self._own = ToldBuffer(node, refused)
        # what a listener calls of its buffer
        both = SimpleNamespace(
            set_transform=partial(self._take, self._buffer.set_transform, False),
            set_transform_static=partial(self._take, self._buffer.set_transform_static, True),
        )
        self._listener = tf2_ros.TransformListener(both, node, spin_thread=False)

    def _take(self, tf2_takes: Callable, static: bool, transform, authority: str) -> None:
        self._own.take([transform], static)
        tf2_takes(transform, authority)

    def lookup(self, target: str, source: str, time_ns: int) -> np.ndarray:
        """(4, 4) that takes points of `source` into `target`; TransformError if unknown."""
        try:
            found = self._buffer.lookup_transform(target, source, Time(nanoseconds=time_ns))
        except tf2_ros.TransformException as error:
            self._own.lookup(target, source, time_ns)  # raises the sentence that users know
            raise TransformError(str(error)) from error
        t, q = found.transform.translation, found.transform.rotation
        return matrix_from_pose((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))

    def describe(self, target: str, source: str) -> str:
        """The frames between the two, or where the tree is cut."""
        return self._own.describe(target, source)

    def rates_hz(self, target: str, source: str) -> dict[str, float]:
        """How often each moving link between the two came of late."""
        return self._own.rates_hz(target, source)

    def clear(self) -> None:
        """Forget what moved; static transforms stay, in both."""
        self._buffer.clear()
        self._own.clear()

    def destroy(self) -> None:
        """End the subscriptions."""
        self._listener.unregister()


def make_tf_listener(node: Node, refused: Refused):
    """tf2_ros's listener on a ROS machine, ours elsewhere."""
    return (Tf2Listener if tf2_ros is not None else OwnListener)(node, refused)
