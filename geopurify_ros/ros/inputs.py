"""From image messages to posed frames: pairing, waiting for the pose, checking."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image

from geopurify_ros.config import Config, QosConfig
from geopurify_ros.core.frame import RgbdFrame
from geopurify_ros.errors import GeoPurifyError, InputError, TransformError
from geopurify_ros.ros.convert import (
    depth_from_image,
    intrinsics_from_info,
    rgb_from_image,
    stamp_ns,
)
from geopurify_ros.ros.poses import PoseSource
from geopurify_ros.ros.report import FrameCounts, Reporter
from geopurify_ros.ros.sync import PairSync

_MAX_WAITING = 10  # pairs that wait for a pose
_RESTART_NS = 1_000_000_000  # a jump back by more is a restarted source, not a late message


class ImageSubscription:
    """An image subscription that is reliable exactly when its publishers are (qos.reliability).

    A reliable subscription hears no best-effort publisher, and a best-effort one loses most raw
    images over the default transport.
    """

    def __init__(
        self, node: Node, topic: str, config: QosConfig, callback: Callable[[Image], None]
    ) -> None:
        """Subscribe; with "auto" best effort first, because that matches every publisher."""
        self._node, self._config, self._callback = node, config, callback
        self._topic = topic
        self._reliable = config.reliability == "reliable"
        self._subscription = self._subscribe()

    @property
    def topic(self) -> str:
        """Full name of the topic."""
        return self._subscription.topic_name

    def adapt(self) -> None:
        """Follow the publishers; called now and then."""
        if self._config.reliability != "auto":
            return
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        reliable = all(p.qos_profile.reliability == ReliabilityPolicy.RELIABLE for p in publishers)
        if publishers and reliable != self._reliable:
            self.destroy()
            self._reliable = reliable
            self._subscription = self._subscribe()

    def destroy(self) -> None:
        """End the subscription."""
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self):
        kind = ReliabilityPolicy.RELIABLE if self._reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=self._config.depth, reliability=kind)
        return self._node.create_subscription(Image, self._topic, self._callback, qos)


class FrameInputs:
    """Subscribes to colour, depth, camera info and poses; hands on what belongs together.

    `ready` gets a function that makes the frame: decoding runs on the worker's thread, and only
    for the frame that is taken.
    """

    def __init__(
        self,
        node: Node,
        config: Config,
        counts: FrameCounts,
        reporter: Reporter,
        ready: Callable[[Callable[[], RgbdFrame]], None],
    ) -> None:
        """Subscribe."""
        self._node, self._config = node, config
        self._counts, self._reporter, self._ready = counts, reporter, ready
        self._poses = PoseSource(node, config, reporter.warn)
        self._sync = PairSync(
            int(config.sync.slop_s * 1e9), config.sync.queue_size, self._on_pair, self._on_unpaired
        )
        self._waiting: deque[tuple[float, Image, Image]] = deque()  # deadline, colour, depth
        self._info: CameraInfo | None = None
        self._newest_ns = 0
        self._rgb = ImageSubscription(node, "rgb/image", config.qos, self._on_rgb)
        self._depth = ImageSubscription(node, "depth/image", config.qos, self._on_depth)
        self._info_subscription = node.create_subscription(
            CameraInfo, "rgb/camera_info", self._on_info, qos_profile_sensor_data
        )
        self._timers = [
            node.create_timer(0.02, self._try_waiting),
            node.create_timer(0.2, self._adapt),
        ]

    def destroy(self) -> None:
        """End all subscriptions; what waits is dropped and counted."""
        for timer in self._timers:
            self._node.destroy_timer(timer)
        self._rgb.destroy()
        self._depth.destroy()
        self._node.destroy_subscription(self._info_subscription)
        self._poses.destroy()
        self._sync.clear()
        while self._waiting:
            self._waiting.popleft()
            self._counts.dropped("stopped")

    def _adapt(self) -> None:
        self._rgb.adapt()
        self._depth.adapt()

    def _on_info(self, msg: CameraInfo) -> None:
        self._info = msg
        if any(msg.d):
            self._reporter.warn(
                self._info_subscription.topic_name,
                f"lens distortion ({msg.distortion_model}) is not corrected: "
                "subscribe to rectified images",
            )

    def _on_rgb(self, msg: Image) -> None:
        self._counts.received()
        self._sync.add(0, stamp_ns(msg.header.stamp), msg)

    def _on_depth(self, msg: Image) -> None:
        self._sync.add(1, stamp_ns(msg.header.stamp), msg)

    def _on_unpaired(self, _rgb: Image) -> None:
        self._counts.dropped("unpaired")
        self._reporter.warn(
            self._rgb.topic,
            f"images have no partner on {self._depth.topic} within sync.slop_s = "
            f"{self._config.sync.slop_s} s: is depth published, do the stamps agree?",
        )

    def _on_pair(self, rgb: Image, depth: Image) -> None:
        time_ns = stamp_ns(rgb.header.stamp)
        if time_ns <= self._newest_ns and self._newest_ns:
            self._went_back(time_ns)
            return
        self._newest_ns = time_ns
        if self._info is None:
            self._drop("no_camera_info", self._info_subscription.topic_name,
                       f"no message yet, images on {self._rgb.topic} cannot be used without it")
            return
        if len(self._waiting) >= _MAX_WAITING:
            self._waiting.popleft()
            self._drop("no_pose", "pose", "too many images wait for their pose", "full")
        deadline = time.monotonic() + self._config.pose.timeout_s
        self._waiting.append((deadline, rgb, depth))
        self._try_waiting()

    def _went_back(self, time_ns: int) -> None:
        back_s = (self._newest_ns - time_ns) * 1e-9
        text = f"the stamp is {back_s:.3f} s before the newest one"
        if self._newest_ns - time_ns > _RESTART_NS:
            text += "; the source seems to have restarted, old poses are forgotten"
            self._newest_ns = time_ns
            self._poses.clear()
        self._drop("stamp_backwards", self._rgb.topic, text, "backwards")

    def _drop(self, reason: str, topic: str, sentence: str, kind: str | None = None) -> None:
        self._counts.dropped(reason)
        self._reporter.warn(topic, sentence, kind)

    def _try_waiting(self) -> None:
        """Hand on every pair whose pose is known by now; drop those that waited too long."""
        for _ in range(len(self._waiting)):
            deadline, rgb, depth = self._waiting.popleft()
            camera = self._config.pose.camera_frame or depth.header.frame_id
            try:
                pose = self._poses.lookup(camera, stamp_ns(rgb.header.stamp))
            except (TransformError, InputError) as error:
                if time.monotonic() < deadline:
                    self._waiting.append((deadline, rgb, depth))
                else:
                    source = {"tf": "/tf"}.get(self._config.pose.source, self._config.pose.source)
                    self._drop("no_pose", source, f"no pose for the image: {error}", "no pose")
                continue
            info = self._info
            self._ready(lambda r=rgb, d=depth, i=info, p=pose: self._frame(r, d, i, p))

    def _frame(
        self, rgb_msg: Image, depth_msg: Image, info: CameraInfo, T_map_camera: np.ndarray
    ) -> RgbdFrame:
        """Decode and check; every error names its topic."""
        info_topic = self._info_subscription.topic_name
        rgb = _named(self._rgb.topic, rgb_from_image, rgb_msg)
        depth_m = _named(self._depth.topic, depth_from_image, depth_msg)
        intrinsics = _named(info_topic, intrinsics_from_info, info)
        for topic, size in ((self._depth.topic, depth_m.shape), (self._rgb.topic, rgb.shape[:2])):
            if size != (info.height, info.width):
                raise InputError(
                    f"{topic}: the image is {size[1]} x {size[0]}, {info_topic} says "
                    f"{info.width} x {info.height}: publish depth registered to colour"
                )
        time_ns = stamp_ns(rgb_msg.header.stamp)
        return RgbdFrame(rgb, depth_m, intrinsics, T_map_camera, time_ns)


def _named(topic: str, convert: Callable, message):
    try:
        return convert(message)
    except GeoPurifyError as error:
        raise InputError(f"{topic}: {error}") from error
