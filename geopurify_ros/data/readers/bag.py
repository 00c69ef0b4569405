"""Recorded rosbag2 files (sqlite3 and mcap), read without ROS."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from geopurify_ros.cameras import Topics
from geopurify_ros.config import CameraConfig, Config
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.data.messages.arrays import stamp_ns
from geopurify_ros.data.messages.frame_maker import FrameMaker, Shot
from geopurify_ros.data.messages.frame_maker import Topics as Names
from geopurify_ros.data.messages.pair_sync import PairSync
from geopurify_ros.data.messages.pose_track import PoseTrack
from geopurify_ros.data.messages.transform_buffer import TransformBuffer
from geopurify_ros.data.readers.bag_files import is_bag, open_bag
from geopurify_ros.errors import GeoPurifyError, InputError

_IMAGE, _COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_TYPES = {
    "rgb": (_IMAGE, _COMPRESSED),
    "depth": (_IMAGE, _COMPRESSED),
    "camera_info": ("sensor_msgs/msg/CameraInfo",),
    "depth_camera_info": ("sensor_msgs/msg/CameraInfo",),
    "pose": ("geometry_msgs/msg/PoseStamped",),
    "odom": ("nav_msgs/msg/Odometry",),
}
# as image_transport names them
_SUFFIXES = {"rgb": ("/compressed",), "depth": ("/compressedDepth", "/compressed")}
TF_TOPICS = ("/tf", "/tf_static")
_WHOLE_BAG_S = 1e9
_log = logging.getLogger(__name__)


class Bag:
    """An open bag whose camera topics are known; use it in a with statement."""

    def __init__(self, path: Path, topics: Topics, config: Config) -> None:
        """Open it and find the topics; those of `topics` that differ from the defaults are meant.

        Raises:
            InputError: no bag, a topic that is not in it, or no way to tell which one is meant.
        """
        self.path = path
        self.refused: Counter[str] = Counter()  # why frames could not be used
        self._reader = open_bag(path)
        self._types = {c.topic: c.msgtype for c in self._reader.connections}
        try:
            self.topics = self._find_topics(topics, config)
            self.config = dataclasses.replace(config, camera=self._camera(config.camera))
        except GeoPurifyError:
            self._reader.close()
            raise

    @staticmethod
    def reads(path: Path) -> bool:
        """Whether it looks like a bag."""
        return is_bag(path)

    @classmethod
    def open(cls, path: Path, config: Config, topics: Topics) -> Bag:
        """See `Recording.open`."""
        return cls(path, topics, config)

    def __enter__(self) -> Bag:
        """The open bag."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self._reader.close()

    def __len__(self) -> int:
        """Colour images in it."""
        return sum(c.msgcount for c in self._reader.connections if c.topic == self.topics.rgb)

    def type_of(self, topic: str) -> str:
        """Message type of a topic, "sensor_msgs/msg/Image"; "" where the bag has none such."""
        return self._types.get(topic, "")

    def raw(self, topics: set[str]) -> Iterator[tuple[str, int, bytes]]:
        """Topic, time of recording (ns) and serialised message, in order."""
        wanted = [c for c in self._reader.connections if c.topic in topics]
        messages = self._reader.messages(connections=wanted)
        while True:
            try:
                connection, time_ns, data = next(messages)
            except StopIteration:
                return
            except Exception as error:  # damaged files: the library raises what it likes
                _log.warning("%s is damaged (%s): what can be read before that is used",
                             self.path, error)
                return
            yield connection.topic, time_ns, bytes(data)

    def frames(self, every: int = 1) -> Iterator[RgbdFrame]:
        """Every `every`-th frame in order; those that cannot be used are counted in `refused`.

        Raises:
            InputError: the bag has no poses of the kind that is asked for.
        """
        if self.config.pose.source == "tf" and not set(TF_TOPICS) & set(self._types):
            raise InputError(
                f"{self.path} has no /tf: choose poses with --set pose.source=odom or pose; "
                f"it has {self._listed(self._types)}"
            )
        track, transforms = self._poses()
        names = Names(
            self.topics.rgb, self.topics.depth, self.topics.camera_info,
            self.topics.depth_camera_info,
        )
        maker = FrameMaker(self.config.camera, names)
        yield from itertools.islice(self._made(maker, track, transforms), 0, None, every)

    def _made(
        self, maker: FrameMaker, track: PoseTrack, transforms: TransformBuffer
    ) -> Iterator[RgbdFrame]:
        for shot in self._shots():
            try:
                yield maker.make(self._posed(shot, track, transforms))
            except GeoPurifyError as error:
                self.refused[str(error)] += 1

    def _posed(self, shot: Shot, track: PoseTrack, transforms: TransformBuffer) -> Shot:
        time_ns = stamp_ns(shot.rgb.header.stamp)
        registered = self.config.camera.depth_registered
        image = shot.depth if registered else shot.rgb
        camera = self.config.pose.camera_frame or image.header.frame_id
        if shot.info is None or not (registered or shot.depth_info is not None):
            raise InputError(f"{self.topics.camera_info}: no camera info before the image")
        pose = track.lookup(camera, time_ns)
        between = None
        if not registered:
            between = transforms.lookup(camera, shot.depth.header.frame_id, time_ns)
        return dataclasses.replace(shot, T_map_color=pose, T_color_depth=between)

    def _poses(self) -> tuple[PoseTrack, TransformBuffer]:
        """All poses, read first: they are small, and images may be recorded before them."""
        transforms = TransformBuffer(_WHOLE_BAG_S)
        source = self.config.pose.source
        track = PoseTrack(transforms, self.config.map.frame, source != "tf", _WHOLE_BAG_S)
        own = {"pose": self.topics.pose, "odom": self.topics.odom}.get(source, "")
        take = track.take_pose if source == "pose" else track.take_odometry
        for topic, msg in self._messages({*TF_TOPICS, own}):
            try:
                if topic == own:
                    take(msg)
                else:
                    for transform in msg.transforms:
                        transforms.set_transform(transform, static=topic == "/tf_static")
            except InputError as error:
                self.refused[f"{topic}: {error}"] += 1
        return track, transforms

    def _shots(self) -> Iterator[Shot]:
        """Pairs of colour and depth with the newest camera infos; poses are not known yet."""
        pairs: list[tuple[Any, Any]] = []
        sync = PairSync(
            int(self.config.sync.slop_s * 1e9), self.config.sync.queue_size,
            lambda rgb, depth: pairs.append((rgb, depth)), self._unpaired,
        )
        info = depth_info = None
        t = self.topics
        for topic, msg in self._messages({t.rgb, t.depth, t.camera_info, t.depth_camera_info}):
            if topic == t.camera_info:
                info = msg
            if topic == t.depth_camera_info:
                depth_info = msg
            if topic in (t.rgb, t.depth):
                sync.add(0 if topic == t.rgb else 1, stamp_ns(msg.header.stamp), msg)
            while pairs and info is not None:
                rgb, depth = pairs.pop(0)
                yield Shot(rgb, depth, info, np.eye(4), depth_info)
        for _ in range(sync.clear()):
            self._unpaired(None)
        for rgb, depth in pairs:
            yield Shot(rgb, depth, info, np.eye(4), depth_info)

    def _unpaired(self, _rgb: Any) -> None:
        self.refused[f"{self.topics.rgb}: no depth image within sync.slop_s"] += 1

    def _messages(self, topics: set[str]) -> Iterator[tuple[str, Any]]:
        for topic, _, data in self.raw(topics):
            try:
                msg = self._reader.deserialize(data, self._types[topic])
            except Exception as error:  # damaged bytes: the library raises what it likes
                self.refused[f"{topic}: a message cannot be read ({error})"] += 1
                continue
            yield topic, msg

    def _camera(self, config: CameraConfig) -> CameraConfig:
        """How the images in the bag come, by their types."""
        kinds = {
            name: "compressed" if self._types[topic] == _COMPRESSED else "raw"
            for name, topic in (("rgb", self.topics.rgb), ("depth", self.topics.depth))
        }
        return dataclasses.replace(
            config, rgb_transport=kinds["rgb"], depth_transport=kinds["depth"]
        )

    def _find_topics(self, given: Topics, config: Config) -> Topics:
        needed = {"rgb", "depth", "camera_info"} | {config.pose.source} - {"tf"}
        if not config.camera.depth_registered:
            needed.add("depth_camera_info")
        own = dataclasses.asdict(Topics())
        found = {}
        for name, topic in dataclasses.asdict(given).items():
            if topic != own[name]:
                # a camera preset names topics that are not needed, too
                if name in needed or topic in self._types:
                    found[name] = self._given(name, topic)
            elif name in needed:
                found[name] = self._guessed(name)
            else:  # nobody asked: play it if it is plain which one is meant
                with contextlib.suppress(InputError):
                    guess = self._guessed(name)
                    if guess not in found.values():
                        found[name] = guess
        return dataclasses.replace(given, **found)

    def _given(self, name: str, topic: str) -> str:
        for found in (topic, *(f"{topic}{suffix}" for suffix in _SUFFIXES.get(name, ()))):
            if self._types.get(found) in _TYPES[name]:  # as the node: the raw name is enough
                return found
        raise InputError(
            f"{self.path} has no topic {topic} of type {' or '.join(_TYPES[name])}; "
            f"it has {self._listed(self._types)}"
        )

    def _guessed(self, name: str) -> str:
        """The one topic that can be meant: by type, and by its name where there are several."""
        typed = [t for t, kind in self._types.items() if kind in _TYPES[name]]
        packed = {f"{t}{suffix}" for t in typed for suffix in _SUFFIXES.get(name, ())}
        typed = [t for t in typed if t not in packed]  # what is there raw is taken so
        likely = [t for t in typed if _sounds_like(name, t)]
        chosen = likely if likely else typed if name in ("pose", "odom", "camera_info") else []
        if len(chosen) == 1:
            return chosen[0]
        which = f"which of {self._listed(chosen)}" if chosen else "none of its topics tells which"
        raise InputError(
            f"{self.path}: {which} is the topic for {name}: choose with --topic {name}=TOPIC; "
            f"it has {self._listed(self._types)}"
        )

    def _listed(self, topics: Any) -> str:
        return ", ".join(f"{t} ({self._types[t].split('/')[-1]})" for t in sorted(topics))


def _sounds_like(name: str, topic: str) -> bool:
    is_depth = "depth" in topic or "stereo" in topic
    is_infrared = any(part in topic for part in ("/ir", "infra"))
    return not is_infrared and is_depth == name.startswith("depth")
