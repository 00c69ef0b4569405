"""From image messages to posed frames: pairing, waiting for the pose, time that jumps."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from geopurify_ros.config import Config
from geopurify_ros.data.messages.arrays import stamp_ns
from geopurify_ros.data.messages.frame_maker import FrameMaker, Shot, Topics
from geopurify_ros.data.messages.pair_sync import PairSync
from geopurify_ros.errors import GeoPurifyError
from geopurify_ros.ros.inputs.camera_infos import InfoTrack
from geopurify_ros.ros.inputs.pending_pairs import WaitingRoom
from geopurify_ros.ros.inputs.pose_source import PoseSource
from geopurify_ros.ros.inputs.second_camera import OneCamera
from geopurify_ros.ros.inputs.subscription import InputSubscription, TopicView
from geopurify_ros.ros.report import FrameCounts, Reporter
from geopurify_ros.ros.worker import MappingWorker

_RESTART_NS = 1_000_000_000  # a jump back by more is a restarted source, not a late message


class FrameInputs:
    """Subscribes to colour, depth, camera info and poses; hands on what belongs together.

    What does not move enough is left out as soon as its pose is known; decoding runs on the
    worker's thread, and only for frames that are taken. `jumped` hears that time went back.
    """

    def __init__(
        self,
        node: Node,
        config: Config,
        counts: FrameCounts,
        reporter: Reporter,
        worker: MappingWorker,
        jumped: Callable[[], None],
    ) -> None:
        """Subscribe."""
        self._node, self.config = node, config
        self._counts, self._reporter = counts, reporter
        self._worker, self._jumped = worker, jumped
        self.poses = PoseSource(node, config, reporter.warn)
        self._sync = PairSync(
            int(config.sync.slop_s * 1e9), config.sync.queue_size, self._on_pair, self._on_unpaired
        )
        self._rgb_camera, self._depth_camera = OneCamera(), OneCamera()
        self._infos, self._depth_infos = InfoTrack(), InfoTrack()
        self._newest_ns: int | None = None
        self._unpaired_ns: int | None = None  # stamp of the first image without a partner
        self.offset_s = 0.0  # between the stamps of the last pair
        self._subscriptions: list[InputSubscription] = []
        try:
            self._subscribe()
        except GeoPurifyError:
            self._unsubscribe()
            raise
        self._waiting = WaitingRoom(
            node, lambda: self.config, self.poses, self.topics, (self._infos, self._depth_infos),
            counts, reporter, self._on_posed,
        )
        # Images wait on the steady clock: with use_sim_time the other one may stand still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timers = [
            node.create_timer(0.02, self._waiting.look, clock=steady),
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

    @property
    def camera_frame(self) -> str:
        """Whose pose is looked up; empty before the first image."""
        return self._waiting.camera_frame

    @property
    def last_pose_error(self) -> str:
        """Why the last image has no pose; empty where it has one."""
        return self._waiting.last_pose_error

    @property
    def _is_simulated(self) -> bool:
        """Whether time comes from /clock, and may begin at zero."""
        return bool(self._node.get_parameter("use_sim_time").value)

    def _adapt(self) -> None:
        for subscription in (*self._subscriptions, self.poses):
            subscription.adapt()

    def _on_info(self, msg: CameraInfo) -> None:
        self._infos.take(msg)
        if stamp_ns(msg.header.stamp) == self._newest_ns:
            self._waiting.stamped_alike = True
        self._waiting.look()

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

    def _on_unpaired(self, rgb: Image | CompressedImage) -> None:
        """Told where it lasts: colour may come more often than depth, by intention."""
        self._counts.dropped("unpaired")
        time_ns = stamp_ns(rgb.header.stamp)
        self._unpaired_ns = self._unpaired_ns or time_ns
        usual_s = self._depth.usual_gap_s
        if (time_ns - self._unpaired_ns) * 1e-9 > 3 * usual_s:
            self._reporter.warn(
                self._rgb.topic,
                f"images have no partner on {self._depth.topic} within sync.slop_s = "
                f"{self.config.sync.slop_s} s: is depth published, do the stamps agree?",
            )

    def _on_pair(self, rgb: Image | CompressedImage, depth: Image | CompressedImage) -> None:
        time_ns, self._unpaired_ns = stamp_ns(rgb.header.stamp), None
        self.offset_s = (stamp_ns(depth.header.stamp) - time_ns) * 1e-9
        if time_ns == 0 and (self._newest_ns == 0 or not self._is_simulated):
            self._drop("no_stamp", self._rgb.topic, (
                "the stamps of the images are zero: the driver does not stamp them, and without a "
                "time there is no pose; set the header's stamp in the driver"
            ))
            return
        if self._newest_ns is not None and time_ns <= self._newest_ns:
            self._went_back(self._newest_ns - time_ns)
            return
        self._newest_ns = time_ns
        if self._infos.newest_ns == time_ns:
            self._waiting.stamped_alike = True
        self._waiting.take(rgb, depth)

    def _on_posed(self, shot: Shot) -> None:
        place = (shot.T_map_color, stamp_ns(shot.rgb.header.stamp))
        if self._worker.wants(*place):
            self._worker.submit_frame(lambda: self._maker.make(shot), place)
        else:
            self._counts.dropped("not_keyframe")

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
        self._newest_ns, self._waiting.stamped_alike = None, False
        self._infos.forget()
        self._depth_infos.forget()
        self.poses.clear()
        self._give_up("time_jumped")
        self._jumped()

    def _give_up(self, reason: str) -> None:
        for _ in range(self._sync.clear() + self._waiting.clear()):
            self._counts.dropped(reason)

    def _drop(self, reason: str, topic: str, sentence: str, kind: str | None = None) -> None:
        self._counts.dropped(reason)
        self._reporter.warn(topic, sentence, kind)

