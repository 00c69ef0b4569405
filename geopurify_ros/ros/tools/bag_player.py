"""`geopurify play BAG`: a rosbag2 on the topics of the node, without ros2 bag."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from geopurify_ros.cameras import Topics
from geopurify_ros.config import Config
from geopurify_ros.data.readers.bag import TF_TOPICS, Bag
from geopurify_ros.errors import InputError
from geopurify_ros.progress import progress
from geopurify_ros.ros.outputs.to_messages import stamp_msg
from geopurify_ros.ros.tools.sequence_player import until_interrupted, wait_for_readers

_TYPES = {
    f"{package}/msg/{kind.__name__}": kind
    for package, kind in (
        ("sensor_msgs", Image), ("sensor_msgs", CompressedImage), ("sensor_msgs", CameraInfo),
        ("geometry_msgs", PoseStamped), ("nav_msgs", Odometry), ("tf2_msgs", TFMessage),
    )
}
_SUFFIX = {"rgb": "/compressed", "depth": "/compressedDepth"}
_LONGEST_PAUSE_S = 5.0  # a recording may have been paused; nobody wants to wait for that


class BagPlayer(Node):
    """Serialised messages as they were recorded, reliable, under the names of the node."""

    def __init__(self, bag: Bag, clock: bool, **node_arguments) -> None:
        """Create the publishers; `clock`: publish /clock, too."""
        super().__init__("player", **node_arguments)
        own = Topics()
        names = {getattr(bag.topics, item): item for item in vars(own)}
        self._publishers_of = {}
        for topic, item in names.items():
            if bag.type_of(topic):
                name = getattr(own, item)
                if bag.type_of(topic).endswith("CompressedImage"):
                    name += _SUFFIX[item]
                self._publishers_of[topic] = self._publisher(bag, topic, name)
        for topic in TF_TOPICS:
            if bag.type_of(topic):
                self._publishers_of[topic] = self._publisher(bag, topic, topic)
        self._time = self.create_publisher(Clock, "/clock", 10) if clock else None
        self.images = [self._publishers_of[t] for t in (bag.topics.rgb, bag.topics.depth)]

    def _publisher(self, bag: Bag, topic: str, name: str):
        qos = QoSProfile(depth=100 if topic in TF_TOPICS else 10)
        if topic == "/tf_static":
            qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
        return self.create_publisher(_TYPES[bag.type_of(topic)], name, qos)

    @property
    def topics(self) -> set[str]:
        """Names in the bag of what is played."""
        return set(self._publishers_of)

    def publish(self, topic: str, time_ns: int, data: bytes) -> None:
        """One message of the bag."""
        if self._time is not None:
            self._time.publish(Clock(clock=stamp_msg(time_ns)))
        self._publishers_of[topic].publish(data)


def play_bag(
    path: Path,
    topics: Topics,
    speed: float,
    loop: bool,
    namespace: str,
    wait_s: float,
    clock: bool,
) -> dict[str, int]:
    """Publish a bag at `speed` times its pace; returns the number of messages sent.

    Raises:
        InputError: no bag, a topic that is not in it, or nobody listens.
    """
    messages = 0
    with until_interrupted(), Bag(path, topics, Config()) as bag:
        player = BagPlayer(bag, clock, namespace=namespace)
        if wait_s > 0:
            wait_for_readers(player.images, wait_s)
        for _ in progress(_play(player, bag, speed, loop), None, "play", "message"):
            messages += 1
        for publisher in player.images:
            publisher.wait_for_all_acked(Duration(seconds=2))
    return {"messages": messages}


def _play(player: BagPlayer, bag: Bag, speed: float, loop: bool) -> Iterator[int]:
    while True:
        due, last_ns = time.monotonic(), None
        for number, (topic, time_ns, data) in enumerate(bag.raw(player.topics)):
            if last_ns is not None:
                due += min((time_ns - last_ns) * 1e-9 / speed, _LONGEST_PAUSE_S)
            last_ns = time_ns
            time.sleep(max(0.0, due - time.monotonic()))
            player.publish(topic, time_ns, data)
            yield number
        if last_ns is None:
            raise InputError(f"{bag.path} holds no message on {', '.join(sorted(player.topics))}")
        if not loop:
            return
