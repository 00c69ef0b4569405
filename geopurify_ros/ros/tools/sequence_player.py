"""Publishes a recorded sequence as a camera would: images, camera info, TF and PoseStamped."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from geometry_msgs.msg import PoseStamped, TransformStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.data.readers.sequence import Sequence
from geopurify_ros.errors import InputError
from geopurify_ros.progress import progress
from geopurify_ros.ros.outputs.to_messages import (
    image_from_array,
    quaternion_from_matrix,
    stamp_msg,
)
from geopurify_ros.ros.shutdown_signals import ros_session

CAMERA_FRAME = "camera_color_optical_frame"
_SETTLE_S = 1.0  # subscribers change their QoS once they have seen ours


class Player(Node):
    """The topics of an RGB-D camera with known poses, reliable, in the namespace of the node."""

    def __init__(self, map_frame: str, clock: bool = False, **node_arguments) -> None:
        """Create the publishers; `clock`: publish /clock, too."""
        super().__init__("player", **node_arguments)
        qos = QoSProfile(depth=10)  # reliable: raw images get lost otherwise
        self._map_frame = map_frame
        self._rgb = self.create_publisher(Image, "rgb/image", qos)
        self._depth = self.create_publisher(Image, "depth/image", qos)
        self._info = self.create_publisher(CameraInfo, "rgb/camera_info", qos)
        self._pose = self.create_publisher(PoseStamped, "pose", qos)
        self._tf = self.create_publisher(TFMessage, "/tf", 100)
        self._time = self.create_publisher(Clock, "/clock", 10) if clock else None
        self.images = (self._rgb, self._depth)

    def wait_until_delivered(self) -> None:
        """Until the subscribers have acknowledged the last images, two seconds at most."""
        for publisher in self.images:
            publisher.wait_for_all_acked(Duration(seconds=2))

    def publish(self, frame: RgbdFrame, stamp_ns: int) -> None:
        """One frame with the given stamp; the pose goes first, so that it is there in time."""
        header = Header(frame_id=CAMERA_FRAME, stamp=stamp_msg(stamp_ns))
        if self._time is not None:
            self._time.publish(Clock(clock=header.stamp))
        self._publish_pose(frame, header)
        height, width = frame.depth_m.shape
        k = frame.intrinsics
        info = CameraInfo(header=header, height=height, width=width, distortion_model="plumb_bob")
        info.k = k.reshape(-1).tolist()
        info.p = [k[0, 0], 0.0, k[0, 2], 0.0, 0.0, k[1, 1], k[1, 2], 0.0, 0.0, 0.0, 1.0, 0.0]
        info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        info.d = [0.0] * 5
        self._info.publish(info)
        # 16UC1: NaN becomes 0, "no depth"
        millimetres = (frame.depth_m * 1000.0).round()
        millimetres[~(millimetres > 0)] = 0
        depth = millimetres.astype("uint16")
        self._depth.publish(image_from_array(depth, "16UC1", CAMERA_FRAME, header.stamp))
        self._rgb.publish(image_from_array(frame.rgb, "rgb8", CAMERA_FRAME, header.stamp))

    def _publish_pose(self, frame: RgbdFrame, header: Header) -> None:
        x, y, z = frame.T_world_camera[:3, 3].tolist()
        q = quaternion_from_matrix(frame.T_world_camera[:3, :3]).tolist()
        world = Header(frame_id=self._map_frame, stamp=header.stamp)
        pose = PoseStamped(header=world)
        transform = TransformStamped(header=world, child_frame_id=CAMERA_FRAME)
        for position in (pose.pose.position, transform.transform.translation):
            position.x, position.y, position.z = x, y, z
        for rotation in (pose.pose.orientation, transform.transform.rotation):
            rotation.x, rotation.y, rotation.z, rotation.w = q
        self._pose.publish(pose)
        self._tf.publish(TFMessage(transforms=[transform]))


def wait_for_readers(publishers: Iterable[Publisher], timeout_s: float) -> None:
    """Until somebody listens to every one of `publishers`.

    Raises:
        InputError: nobody came in time.
    """
    deadline = time.monotonic() + timeout_s
    while not all(publisher.get_subscription_count() for publisher in publishers):
        if time.monotonic() > deadline:
            names = " and ".join(publisher.topic_name for publisher in publishers)
            raise InputError(
                f"nobody subscribed to {names} within {timeout_s:g} s: is the node running, in "
                "this domain and namespace?"
            )
        time.sleep(0.05)
    time.sleep(_SETTLE_S)


def play(player: Player, sequence: Sequence, rate_hz: float, loop: bool) -> Iterator[int]:
    """Publish the frames at `rate_hz` with stamps of now; yields the number of each."""
    while True:
        due = time.monotonic()
        for number in range(len(sequence)):
            frame = sequence.frame(number)
            time.sleep(max(0.0, due - time.monotonic()))
            due = max(due + 1.0 / rate_hz, time.monotonic())
            player.publish(frame, player.get_clock().now().nanoseconds)
            yield number
        if not loop:
            return


@contextlib.contextmanager
def until_interrupted() -> Iterator[None]:
    """ROS from here to the end of the block; Ctrl-C ends the block quietly."""
    with contextlib.suppress(KeyboardInterrupt), ros_session():
        yield


def play_sequence(
    folder: Path,
    rate_hz: float,
    loop: bool,
    namespace: str,
    map_frame: str,
    wait_s: float,
    clock: bool = False,
    depth_unit_m: float = 0.0,
) -> dict[str, int]:
    """`geopurify play`: publish a sequence folder; returns the number of frames sent.

    Raises:
        InputError: no sequence, a rate of zero, or nobody listens.
    """
    if not 0 < rate_hz <= 1000:
        raise InputError(f"--rate is {rate_hz}, expected more than 0 frames per second")
    sequence = Sequence(folder, depth_unit_m)
    frames = 0
    with until_interrupted():
        player = Player(map_frame, clock, namespace=namespace)
        if wait_s > 0:
            wait_for_readers(player.images, wait_s)
        total = None if loop else len(sequence)
        playing = play(player, sequence, rate_hz, loop)
        for _ in progress(playing, total, "play", "frame"):
            frames += 1
        # reliable messages still in the queue must leave before the process does
        player.wait_until_delivered()
    return {"frames": frames}
