"""From image messages to posed frames: pairing, waiting for the pose, time that jumps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from geopurify_ros.config import Config
from geopurify_ros.core.frame import RgbdFrame
from geopurify_ros.data.frame_maker import FrameMaker, Shot, Topics
from geopurify_ros.data.messages import stamp_ns
from geopurify_ros.data.pair_sync import PairSync
from geopurify_ros.errors import GeoPurifyError, InputError, TransformError
from geopurify_ros.ros.info_track import InfoTrack
from geopurify_ros.ros.one_camera import OneCamera
from geopurify_ros.ros.poses import PoseSource
from geopurify_ros.ros.report import FrameCounts, Reporter
from geopurify_ros.ros.subscription import InputSubscription, TopicView

_MAX_WAITING = 10  # pairs that wait for a pose
_RESTART_NS = 1_000_000_000  # a jump back by more is a restarted source, not a late message


@dataclass
class _Waiting:
    """A pair whose pose is not known yet."""

    since_ns: int  # on the node's clock
    rgb: Image | CompressedImage
    depth: Image | CompressedImage


class FrameInputs:
    """Subscribes to colour, depth, camera info and poses; hands on what belongs together.

    `ready` gets a function that makes the frame: decoding runs on the worker's thread, and only
    for the frame that is taken. `jumped` hears that time went back.
    """

    def __init__(
        self,
        node: Node,
        config: Config,
        counts: FrameCounts,
        reporter: Reporter,
        ready: Callable[[Callable[[], RgbdFrame]], None],
        jumped: Callable[[], None],
    ) -> None:
        """Subscribe."""
        self._node, self.config = node, config
        self._counts, self._reporter = counts, reporter
        self._ready, self._jumped = ready, jumped
        self.poses = PoseSource(node, config, reporter.warn)
        self._sync = PairSync(
            int(config.sync.slop_s * 1e9), config.sync.queue_size, self._on_pair, self._on_unpaired
        )
        self._waiting: deque[_Waiting] = deque()
        self._rgb_camera, self._depth_camera = OneCamera(), OneCamera()
        self._infos, self._depth_infos = InfoTrack(), InfoTrack()
        self._stamped_alike = False  # colour images and their camera infos
        self._newest_ns: int | None = None
        self.camera_frame = ""  # whose pose is looked up; known with the first image
        self.offset_s = 0.0  # between the stamps of the last pair
        self.last_pose_error = ""
        self._subscriptions: list[InputSubscription] = []
        try:
            self._subscribe()
        except GeoPurifyError:
            self._unsubscribe()
            raise
        # Images wait on the steady clock: with use_sim_time the other one may stand still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timers = [
            node.create_timer(0.02, self._try_waiting, clock=steady),
            node.create_timer(0.2, self._adapt, clock=steady),
        ]
        threshold = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-_RESTART_NS),
            on_clock_change=False,
        )
        self._jump = node.get_clock().create_jump_callback(threshold, post_callback=self._on_jump)

    def _subscribe(self) -> None:
        node, camera, qos = self._node, self.config.camera, self.config.qos

        def images(argument: str, transport: str, suffix: str, settings, callback):
            name = {"rgb": "colour images", "depth": "depth images"}[argument]
            topic = f"{argument}/image"
            kind = Image if transport == "raw" else CompressedImage
            if transport != "raw":  # as image_transport: the suffix follows the remapped name
                topic = node.resolve_topic_name(topic) + suffix
            return subscribed(name, argument, kind, topic, settings, callback)

        def subscribed(*arguments) -> InputSubscription:
            self._subscriptions.append(InputSubscription(node, *arguments))
            return self._subscriptions[-1]

        self._rgb = images(
            "rgb", camera.rgb_transport, "/compressed",
            ("qos.rgb", qos.rgb_reliability, qos.rgb_queue), self._on_rgb,
        )
        self._depth = images(
            "depth", camera.depth_transport,
            "/compressed" if camera.depth_transport == "png" else "/compressedDepth",
            ("qos.depth", qos.depth_reliability, qos.depth_queue), self._on_depth,
        )
        info_qos = ("qos.info", qos.info_reliability, qos.info_queue)
        info = subscribed(
            "camera infos", "camera_info", CameraInfo, "rgb/camera_info", info_qos, self._on_info
        )
        depth_info = info
        if not camera.depth_registered:
            depth_info = subscribed(
                "depth camera infos", "depth_camera_info", CameraInfo, "depth/camera_info",
                info_qos, self._depth_infos.take,
            )
        self.topics = Topics(self._rgb.topic, self._depth.topic, info.topic, depth_info.topic)
        self._maker = FrameMaker(camera, self.topics)

    def destroy(self) -> None:
        """End all subscriptions; what waits is dropped and counted."""
        self._jump.unregister()
        for timer in self._timers:
            self._node.destroy_timer(timer)
        self._unsubscribe()
        self._give_up("stopped")

    def _unsubscribe(self) -> None:
        for subscription in self._subscriptions:
            subscription.destroy()
        self.poses.destroy()

    def views(self) -> list[TopicView]:
        """What is known of each input topic."""
        found = [subscription.view() for subscription in self._subscriptions]
        pose = self.poses.view()
        return found if pose is None else [*found, pose]

    def _adapt(self) -> None:
        for subscription in (*self._subscriptions, self.poses):
            subscription.adapt()

    def _on_info(self, msg: CameraInfo) -> None:
        self._infos.take(msg)
        if stamp_ns(msg.header.stamp) == self._newest_ns:
            self._stamped_alike = True
        self._try_waiting()

    def _on_rgb(self, msg: Image | CompressedImage) -> None:
        self._counts.received()
        partner = self._depth_camera.frame_id if self.config.camera.depth_registered else None
        if self._rgb_camera.accepts(msg.header.frame_id, self._rgb.is_alone, partner):
            self._sync.add(0, stamp_ns(msg.header.stamp), msg)
            return
        self._counts.dropped("another_camera")
        self._tell_of_two(self._rgb.topic, msg, self._rgb_camera)

    def _on_depth(self, msg: Image | CompressedImage) -> None:
        if self._depth_camera.accepts(msg.header.frame_id, self._depth.is_alone):
            self._sync.add(1, stamp_ns(msg.header.stamp), msg)
        else:
            self._tell_of_two(self._depth.topic, msg, self._depth_camera)

    def _tell_of_two(self, topic: str, msg: Image | CompressedImage, camera: OneCamera) -> None:
        self._reporter.warn(topic, (
            f"images of '{msg.header.frame_id}' come among those of '{camera.frame_id}' and are "
            "left out: let only one camera publish there"
        ))

    def _on_unpaired(self, _rgb: Image | CompressedImage) -> None:
        self._counts.dropped("unpaired")
        self._reporter.warn(
            self._rgb.topic,
            f"images have no partner on {self._depth.topic} within sync.slop_s = "
            f"{self.config.sync.slop_s} s: is depth published, do the stamps agree?",
        )

    def _on_pair(self, rgb: Image | CompressedImage, depth: Image | CompressedImage) -> None:
        time_ns = stamp_ns(rgb.header.stamp)
        self.offset_s = (stamp_ns(depth.header.stamp) - time_ns) * 1e-9
        if self._newest_ns is not None and time_ns <= self._newest_ns:
            self._went_back(self._newest_ns - time_ns)
            return
        self._newest_ns = time_ns
        if self._infos.newest_ns == time_ns:
            self._stamped_alike = True
        if len(self._waiting) >= _MAX_WAITING:
            # not the oldest: if poses come late, nothing would ever wait long enough
            self._drop("no_pose", self.poses.topic, (
                f"{_MAX_WAITING} images wait for their poses, which come late: others are left out"
            ))
            return
        self._waiting.append(_Waiting(self._node.get_clock().now().nanoseconds, rgb, depth))
        self._try_waiting()

    def _missing_info(self) -> str | None:
        if not self._infos:
            return self.topics.info
        if not self.config.camera.depth_registered and not self._depth_infos:
            return self.topics.depth_info
        return None

    def _info_is_due(self, pair: _Waiting) -> bool:
        """Whether the camera info of this very image is still on its way: it may be a new one."""
        image_ns = stamp_ns(pair.rgb.header.stamp)
        return self._stamped_alike and self._infos.newest_ns < image_ns

    def _went_back(self, by_ns: int) -> None:
        text = f"the stamp is {by_ns * 1e-9:.3f} s before the newest one"
        if by_ns > _RESTART_NS:
            self._restart(self._rgb.topic, f"{text}; the source seems to have restarted")
        self._drop("stamp_backwards", self._rgb.topic, text, "backwards")

    def _on_jump(self, jump) -> None:
        self._restart("/clock", f"time jumped back by {-jump.delta.nanoseconds * 1e-9:.3f} s")

    def _restart(self, topic: str, cause: str) -> None:
        """Time begins anew: nothing of before may meet what comes."""
        then = {
            "continue": "the map is kept and mapping goes on",
            "reset": "the map is emptied",
        }[self.config.time.on_jump_back]
        self._reporter.warn(
            topic, f"{cause}: old poses are forgotten, {then} (time.on_jump_back)", "restart"
        )
        self._newest_ns, self._stamped_alike = None, False
        self._infos.forget()
        self._depth_infos.forget()
        self.poses.clear()
        self._give_up("time_jumped")
        self._jumped()

    def _give_up(self, reason: str) -> None:
        for _ in range(self._sync.clear() + len(self._waiting)):
            self._counts.dropped(reason)
        self._waiting.clear()

    def _drop(self, reason: str, topic: str, sentence: str, kind: str | None = None) -> None:
        self._counts.dropped(reason)
        self._reporter.warn(topic, sentence, kind)

    def _try_waiting(self) -> None:
        """Hand on every pair whose pose is known by now; drop those that waited too long."""
        now_ns = self._node.get_clock().now().nanoseconds
        timeout_s = self.config.pose.timeout_s
        for _ in range(len(self._waiting)):
            pair = self._waiting.popleft()
            is_late = (now_ns - pair.since_ns) * 1e-9 >= timeout_s
            missing = self._missing_info()
            if missing and is_late:
                self._drop("no_camera_info", missing, f"no message yet, images on "
                           f"{self._rgb.topic} cannot be used without it")
            elif not is_late and (missing or self._info_is_due(pair)):
                self._waiting.append(pair)
            else:
                if is_late:
                    self._stamped_alike = False  # waited for nothing: do not wait again
                self._try_pose(pair, is_late)

    def _try_pose(self, pair: _Waiting, is_late: bool) -> None:
        try:
            shot = self._posed(pair)
        except (TransformError, InputError) as error:
            self.last_pose_error = str(error)
            if not is_late:
                self._waiting.append(pair)
                return
            self._drop("no_pose", self.poses.topic, (
                f"no pose for the image: {error}; waited pose.timeout_s = "
                f"{self.config.pose.timeout_s} s; chain: {self.poses.chain(self.camera_frame)}"
            ), "no pose")
            return
        self.last_pose_error = ""
        self._ready(lambda: self._maker.make(shot))

    def _posed(self, pair: _Waiting) -> Shot:
        time_ns = stamp_ns(pair.rgb.header.stamp)
        info = self._infos.at(time_ns)
        given = self.config.pose.camera_frame
        if self.config.camera.depth_registered:
            self.camera_frame = given or pair.depth.header.frame_id
            pose = self.poses.lookup(self.camera_frame, time_ns)
            return Shot(pair.rgb, pair.depth, info, pose)
        self.camera_frame = given or pair.rgb.header.frame_id
        pose = self.poses.lookup(self.camera_frame, time_ns)
        depth_frame = pair.depth.header.frame_id
        T_color_depth = self.poses.between(self.camera_frame, depth_frame, time_ns)
        depth_info = self._depth_infos.at(stamp_ns(pair.depth.header.stamp))
        return Shot(pair.rgb, pair.depth, info, pose, depth_info, T_color_depth)
