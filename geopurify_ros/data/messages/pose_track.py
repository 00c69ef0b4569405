"""Camera poses from TF, PoseStamped or Odometry, all interpolated to the image stamp."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.data.messages.arrays import stamp_ns
from geopurify_ros.data.messages.transform_buffer import TransformBuffer
from geopurify_ros.errors import InputError, TransformError

# The moving link of a pose topic; a name no TF tree has.
_TRACKED = "geopurify_tracked_frame"


class Transforms(Protocol):
    """TF: a TransformBuffer, or tf2's."""

    def lookup(self, target: str, source: str, time_ns: int) -> NDArray[np.float64]:
        """(4, 4) that takes points of `source` into `target`; TransformError if unknown."""

    def describe(self, target: str, source: str) -> str:
        """The frames between the two, or where the tree is cut."""

    def rates_hz(self, target: str, source: str) -> dict[str, float]:
        """How often each moving link between the two came of late."""


class PoseTrack:
    """Where a camera was in the map; without a pose topic, TF alone says it."""

    def __init__(
        self, transforms: Transforms, map_frame: str, has_topic: bool, cache_s: float = 10.0
    ) -> None:
        """Nothing is known yet; `has_topic`: poses will come from a topic, not from TF."""
        self._tf, self._map_frame, self._has_topic = transforms, map_frame, has_topic
        self._poses = TransformBuffer(cache_s)
        self._reference_frame = ""  # header.frame_id of the pose topic
        self._child_frame = ""  # child_frame_id of the odometry

    def take_pose(self, msg: Any) -> None:
        """A PoseStamped of the colour camera's optical frame; InputError if it is no pose."""
        self._take(msg.header, msg.pose)

    def take_odometry(self, msg: Any) -> None:
        """An Odometry of any frame of the robot; InputError if it is no pose, or of no frame."""
        child_frame = msg.child_frame_id.lstrip("/")
        if not child_frame:  # taking it for the camera's would turn the map without a word
            raise InputError("the odometry has no child_frame_id: set it in the driver")
        self._child_frame = child_frame
        self._take(msg.header, msg.pose.pose)

    def _take(self, header: Any, pose: Any) -> None:
        p, q = pose.position, pose.orientation
        reference = header.frame_id.lstrip("/") or self._map_frame
        self._poses.set(
            reference, _TRACKED, stamp_ns(header.stamp), (p.x, p.y, p.z), (q.x, q.y, q.z, q.w)
        )
        self._reference_frame = reference

    def lookup(self, camera_frame: str, time_ns: int) -> NDArray[np.float64]:
        """T_map_camera (4, 4) at a time.

        Raises:
            TransformError: not known at that time, or not yet.
        """
        if not self._has_topic:
            return self._tf.lookup(self._map_frame, camera_frame, time_ns)
        reference = self._reference_frame or self._map_frame
        pose = self._tracked(reference, time_ns)
        if reference != self._map_frame:
            pose = self._tf.lookup(self._map_frame, reference, time_ns) @ pose
        if self._child_frame and self._child_frame != camera_frame:
            pose = pose @ self._tf.lookup(self._child_frame, camera_frame, time_ns)
        return pose

    def _tracked(self, reference: str, time_ns: int) -> NDArray[np.float64]:
        """The pose of the topic; what is wrong with it is said in the words of a topic."""
        if not self._poses.knows(_TRACKED):
            raise TransformError("no pose has come yet")
        try:
            return self._poses.lookup(reference, _TRACKED, time_ns)
        except TransformError as error:
            sentence = str(error).replace(f"'{reference}' <- '{_TRACKED}': ", "")
            raise TransformError(sentence.replace("transform", "pose")) from error

    def rates_hz(self, camera_frame: str) -> dict[str, float]:
        """How often what moves on the way from the map to the camera came of late."""
        if not self._has_topic:
            return self._tf.rates_hz(self._map_frame, camera_frame)
        reference = self._reference_frame or self._map_frame
        own = self._poses.rates_hz(reference, _TRACKED)
        found = {"poses": min(own.values())} if own else {}
        if reference != self._map_frame:
            found |= self._tf.rates_hz(self._map_frame, reference)
        if self._child_frame and self._child_frame != camera_frame:
            found |= self._tf.rates_hz(self._child_frame, camera_frame)
        return found

    def chain(self, camera_frame: str, topic: str) -> str:
        """The frames from the map to the camera, or where the chain is cut."""
        if not self._has_topic:
            return self._tf.describe(self._map_frame, camera_frame)
        reference = self._reference_frame or self._map_frame
        parts = []
        if reference != self._map_frame:
            parts.append(self._tf.describe(self._map_frame, reference))
        parts.append(f"{reference} <- {self._child_frame or camera_frame} ({topic})")
        if self._child_frame and self._child_frame != camera_frame:
            parts.append(self._tf.describe(self._child_frame, camera_frame))
        return "; ".join(parts)

    def clear(self) -> None:
        """Forget the poses of the topic."""
        self._poses.clear()
