"""Pairs of images that wait for their pose and their calibration."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from geopurify_ros.config import Config
from geopurify_ros.data.messages.arrays import stamp_ns
from geopurify_ros.data.messages.frame_maker import Shot, Topics
from geopurify_ros.errors import InputError, TransformError
from geopurify_ros.ros.inputs.camera_infos import InfoTrack
from geopurify_ros.ros.inputs.pose_source import PoseSource
from geopurify_ros.ros.report import FrameCounts, Reporter

# Poses may come late by seconds; the images of that time are held up to this size.
_MAX_BYTES = 256 << 20
_MAX_PAIRS = 128


@dataclass
class _Pair:
    """A pair whose pose is not known yet."""

    since_ns: int  # on the node's clock
    rgb: Image | CompressedImage
    depth: Image | CompressedImage

    @property
    def num_bytes(self) -> int:
        """Of both images."""
        return len(self.rgb.data) + len(self.depth.data)


class WaitingRoom:
    """Hands on each pair once everything about it is known; drops those that wait too long.

    `ready` gets the pair with its pose; it runs on the thread that calls `take` or `look`.
    """

    def __init__(
        self,
        node: Node,
        config: Callable[[], Config],
        poses: PoseSource,
        topics: Topics,
        infos: tuple[InfoTrack, InfoTrack],  # of colour, of depth
        counts: FrameCounts,
        reporter: Reporter,
        ready: Callable[[Shot], None],
    ) -> None:
        """Empty."""
        self._node, self._config, self._poses, self._topics = node, config, poses, topics
        self._infos, self._depth_infos = infos
        self._counts, self._reporter, self._ready = counts, reporter, ready
        self._pairs: deque[_Pair] = deque()
        self.stamped_alike = False  # colour images and their camera infos
        self.camera_frame = ""  # whose pose is looked up; known with the first image
        self.last_pose_error = ""

    def take(self, rgb: Image | CompressedImage, depth: Image | CompressedImage) -> None:
        """One more pair."""
        pair = _Pair(self._node.get_clock().now().nanoseconds, rgb, depth)
        held = sum(p.num_bytes for p in self._pairs)
        if len(self._pairs) >= _MAX_PAIRS or (self._pairs and held + pair.num_bytes > _MAX_BYTES):
            # not the oldest: if poses come late, nothing would ever wait long enough
            self._drop("no_pose", self._poses.topic, (
                f"{len(self._pairs)} images wait for their poses, which come late: others are "
                "left out"
            ), "too many wait")
            return
        self._pairs.append(pair)
        self.look()

    def clear(self) -> int:
        """Give all up; returns how many."""
        waiting = len(self._pairs)
        self._pairs.clear()
        return waiting

    def look(self) -> None:
        """Hand on every pair whose pose is known by now; drop those that waited too long."""
        now_ns = self._node.get_clock().now().nanoseconds
        timeout_s = self._config().pose.timeout_s
        for _ in range(len(self._pairs)):
            pair = self._pairs.popleft()
            is_late = (now_ns - pair.since_ns) * 1e-9 >= timeout_s
            missing = self._missing_info()
            if missing and is_late:
                self._drop("no_camera_info", missing, f"no message yet, images on "
                           f"{self._topics.rgb} cannot be used without it")
            elif not is_late and (missing or self._info_is_due(pair)):
                self._pairs.append(pair)
            else:
                if is_late:
                    self.stamped_alike = False  # waited for nothing: do not wait again
                self._try_pose(pair, is_late)

    def _missing_info(self) -> str | None:
        if not self._infos:
            return self._topics.info
        if not self._config().camera.depth_registered and not self._depth_infos:
            return self._topics.depth_info
        return None

    def _info_is_due(self, pair: _Pair) -> bool:
        """Whether the camera info of this very image is still on its way: it may be a new one."""
        image_ns = stamp_ns(pair.rgb.header.stamp)
        return self.stamped_alike and self._infos.newest_ns < image_ns

    def _try_pose(self, pair: _Pair, is_late: bool) -> None:
        try:
            shot = self._posed(pair)
        except (TransformError, InputError) as error:
            self.last_pose_error = str(error)
            if is_late:
                self._drop("no_pose", self._poses.topic, self._no_pose(error), "no pose")
            else:
                self._pairs.append(pair)
            return
        self.last_pose_error = ""
        self._ready(shot)

    def _no_pose(self, error: Exception) -> str:
        waited = f"waited pose.timeout_s = {self._config().pose.timeout_s} s"
        return f"no pose for the image: {with_chain(error, self.chain())}; {waited}"

    def chain(self) -> str:
        """The frames from the map to the camera, or where the chain is cut."""
        camera = self.camera_frame or self._config().pose.camera_frame
        return self._poses.chain(camera) if camera else ""

    def _posed(self, pair: _Pair) -> Shot:
        time_ns = stamp_ns(pair.rgb.header.stamp)
        registered = self._config().camera.depth_registered
        image, name = (pair.depth, "depth") if registered else (pair.rgb, "colour")
        self.camera_frame = self._config().pose.camera_frame or image.header.frame_id
        if not self.camera_frame:
            raise InputError(
                f"the {name} images have no frame_id: set it in the driver, or set "
                "pose.camera_frame to the optical frame of the camera"
            )
        pose = self._poses.lookup(self.camera_frame, time_ns)
        info = self._infos.at(time_ns)
        if registered:
            return Shot(pair.rgb, pair.depth, info, pose)
        T_color_depth = self._depth_in_color(pair, time_ns)
        depth_info = self._depth_infos.at(stamp_ns(pair.depth.header.stamp))
        return Shot(pair.rgb, pair.depth, info, pose, depth_info, T_color_depth)

    def _depth_in_color(self, pair: _Pair, time_ns: int) -> np.ndarray:
        frame = pair.depth.header.frame_id
        if not frame:
            raise InputError("the depth images have no frame_id: set it in the driver")
        return self._poses.between(self.camera_frame, frame, time_ns)

    def _drop(self, reason: str, topic: str, sentence: str, kind: str | None = None) -> None:
        self._counts.dropped(reason)
        self._reporter.warn(topic, sentence, kind)


def with_chain(error: object, chain: str) -> str:
    """What is missing, and the chain of frames unless that says the same."""
    return str(error) if not chain or chain in str(error) else f"{error}; chain: {chain}"
