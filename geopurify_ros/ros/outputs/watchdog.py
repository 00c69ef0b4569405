"""Once a second: what comes, what is missing and why, in /diagnostics and in the log."""

from __future__ import annotations

from collections import deque

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import Header

from geopurify_ros.ros.inputs.frame_inputs import FrameInputs
from geopurify_ros.ros.inputs.pending_pairs import with_chain
from geopurify_ros.ros.inputs.subscription import how_many
from geopurify_ros.ros.outputs import faults
from geopurify_ros.ros.outputs.faults import Fault, Status
from geopurify_ros.ros.process_memory import resident_bytes
from geopurify_ros.ros.report import FrameCounts, Reporter
from geopurify_ros.ros.worker import MappingWorker

_WINDOW = 5  # seconds that rates are taken over


class Watchdog:
    """Looks at the parts of an active node; sees everything, changes nothing."""

    def __init__(
        self,
        node: Node,
        inputs: FrameInputs,
        worker: MappingWorker,
        counts: FrameCounts,
        reporter: Reporter,
    ) -> None:
        """Begin to look."""
        self._node, self._inputs, self._worker = node, inputs, worker
        self._counts, self._reporter = counts, reporter
        self._history: deque[dict[str, int]] = deque([counts.snapshot()], maxlen=_WINDOW + 1)
        self._was_well = True
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # steady: with use_sim_time and no /clock the other one stands still, and just then
        # somebody must speak
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(1.0, self._look, clock=steady)

    def destroy(self) -> None:
        """End."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._publisher)

    def statuses(self) -> list[Status]:
        """All entries, always the same eight in the same order."""
        views = self._inputs.views()
        counts = self._counts.snapshot()
        self._history.append({**counts, **{v.topic: v.received for v in views}})
        return [
            self._input_status(views, counts),
            self._sync_status(views, counts),
            self._pose_status(counts),
            self._encoder_status(),
            self._map_status(counts),
            self._purifier_status(),
            self._query_status(),
            self._memory_status(),
        ]

    def _look(self) -> None:
        self._worker.request_map()
        found = self.statuses()
        present = [fault for status in found for fault in status.faults]
        for fault in (f for f in present if not f.is_told):
            self._reporter.warn(fault.subject, fault.sentence, fault.kind)
        if not present and not self._was_well:
            self._node.get_logger().info("all inputs are fine again")
        self._was_well = not present
        array = DiagnosticArray(header=Header(stamp=self._node.get_clock().now().to_msg()))
        array.status = [self._message(status) for status in found]
        self._publisher.publish(array)

    def _message(self, status: Status) -> DiagnosticStatus:
        return DiagnosticStatus(
            level=bytes([status.level]),
            name=f"{self._node.get_fully_qualified_name()}: {status.part}",
            hardware_id=self._node.get_fully_qualified_name(),
            message=status.message,
            values=[
                KeyValue(key=key, value=value)
                for key, value in (faults.fault_values(status) | status.values).items()
            ],
        )

    def _lately(self, name: str) -> int:
        """How much a count grew within the window."""
        return self._history[-1].get(name, 0) - self._history[0].get(name, 0)

    def _input_status(self, views, counts: dict[str, int]) -> Status:
        status = Status("inputs", "all inputs arrive")
        now_ns = self._node.get_clock().now().nanoseconds
        published = {topic: kinds for topic, kinds in self._node.get_topic_names_and_types()
                     if self._node.count_publishers(topic)}
        for view in views:
            status.faults += _some(faults.topic_fault(view, published))
            status.values |= faults.topic_values(view, now_ns)
        topics = self._inputs.topics
        for view, info in zip(views[:2], (topics.info, topics.depth_info), strict=True):
            is_own = view.topic == topics.rgb or info != topics.info
            status.faults += _some(faults.transport_fault(
                view, self._lately(view.topic), self._lately(info), is_own
            ))
        if self._node.get_parameter("use_sim_time").value and now_ns == 0:
            status.faults.append(Fault(faults.ERROR, "/clock", "no clock", (
                "use_sim_time is true, but nobody publishes the time: play with --clock, or set "
                "use_sim_time to false"
            )))
        status.faults += _some(faults.refusal_fault(
            self._lately("dropped.bad_input"), self._lately("received"),
            self._worker.last_refusal,
        ))
        status.faults += _some(
            faults.stamp_fault(self._inputs.topics.rgb, self._lately("dropped.no_stamp"))
        )
        name = self._node.get_fully_qualified_name()
        status.faults += _some(faults.twin_fault(name, how_many(self._node, name)))
        if self._worker.is_paused:
            status.summary = "paused: frames are dropped until ~/pause is called with false"
        status.values |= {f"frames.{name}": str(n) for name, n in counts.items()}
        return status

    def _sync_status(self, views, counts: dict[str, int]) -> Status:
        rgb, depth = views[:2]
        pairs = self._lately("received") - self._lately("dropped.unpaired")
        status = Status("sync", "colour and depth pair up")
        if pairs <= 0:
            status.summary = "no pair of colour and depth of late"
        lately = (self._lately(rgb.topic), self._lately(depth.topic))
        status.faults += _some(faults.sync_fault(rgb, depth, pairs, lately))
        status.values = {
            "unpaired": str(counts.get("dropped.unpaired", 0)),
            "offset_s": f"{self._inputs.offset_s:.4f}",
            "slop_s": str(self._inputs.config.sync.slop_s),
        }
        return status

    def _pose_status(self, counts: dict[str, int]) -> Status:
        inputs, poses = self._inputs, self._inputs.poses
        camera = inputs.camera_frame or inputs.config.pose.camera_frame
        chain = poses.chain(camera) if camera else "no image yet, so no camera frame"
        status = Status("poses", f"from {poses.topic}: {chain}")
        if self._lately("dropped.no_pose") and inputs.last_pose_error:
            status.faults.append(Fault(
                faults.ERROR, poses.topic, "no pose",
                with_chain(inputs.last_pose_error, chain), is_told=True,
            ))
            if inputs.config.pose.source == "tf":
                publishers = poses.tf_publishers()
                status.faults += _some(faults.tf_fault(poses.tf_topic, publishers))
        status.values = {
            f"{poses.tf_topic}.publishers": faults.publisher_names(poses.tf_publishers()),
            "source": inputs.config.pose.source, "map_frame": inputs.config.map.frame,
            "camera_frame": camera, "chain": chain,
            "no_pose": str(counts.get("dropped.no_pose", 0)),
        }
        rates = poses.rates_hz(camera) if camera else {}
        status.values |= {f"hz.{link}": f"{rate:.1f}" for link, rate in rates.items()}
        return status

    def _encoder_status(self) -> Status:
        pipeline = self._worker.pipeline
        status = Status("encoder", f"{pipeline.encoder.id} on {pipeline.device}")
        status.faults += self._failing("frame", "encoder")
        if self._worker.lost_device:
            sentence = self._worker.lost_device
            status.faults.append(Fault(faults.ERROR, "device", "lost", sentence, is_told=True))
        for stage, ms in pipeline.stopwatch.median_ms().items():
            status.values[f"median_ms.{stage}"] = f"{ms:.1f}"
        return status

    def _map_status(self, counts: dict[str, int]) -> Status:
        voxels = self._worker.pipeline.map
        status = Status("map", f"{counts['fused']} frames fused, {len(voxels)} voxels")
        dropped = {n.removeprefix("dropped."): c for n, c in counts.items() if "." in n}
        status.faults += _some(faults.drop_fault(counts["received"], counts["fused"], dropped))
        frame_ms = sum(self._worker.pipeline.stopwatch.median_ms().get(stage, 0.0)
                       for stage in ("geometry", "encode", "fuse"))
        status.faults += _some(faults.busy_fault(
            self._lately("dropped.busy"), self._lately("fused"), frame_ms
        ))
        status.faults += self._failing("map")
        status.values = {
            "map.voxels": str(len(voxels)),
            "map.bytes": str(voxels.num_bytes),
            "map.stamp": f"{self._worker.stamp_ns * 1e-9:.3f}",
        }
        return status

    def _purifier_status(self) -> Status:
        worker = self._worker
        status = Status("purifier", f"{worker.pipeline.num_purifications} purifications")
        status.faults += self._failing("purify")
        status.values["purify.count"] = str(worker.pipeline.num_purifications)
        purifications = worker.purifications
        status.values["purify.waiting_voxels"] = str(purifications.num_waiting_voxels)
        if worker.last_purify:
            status.values["purify.age_s"] = f"{purifications.age_s:.1f}"
            status.values["purify.updated"] = str(worker.last_purify.num_updated)
            status.values["purify.voxels"] = str(worker.last_purify.num_voxels)
            status.values["purify.entropy"] = f"{worker.last_purify.entropy:.3f}"
            status.values["purify.rank"] = str(worker.last_purify.rank)
        if worker.last_answer:
            effect = worker.last_answer.effect
            status.values |= {
                "purify.changed": f"{effect.changed:.3f}",
                "purify.boundary_before": f"{effect.boundary_before:.3f}",
                "purify.boundary_after": f"{effect.boundary_after:.3f}",
                "purify.declined": worker.last_answer.objection,
            }
        return status

    def _query_status(self) -> Status:
        asked = self._worker.query
        prompts = ", ".join(asked.prompts) if asked else "none"
        status = Status("query", f"active prompts: {prompts}", values={"query.prompts": prompts})
        status.faults += self._failing("query")
        return status

    def _memory_status(self) -> Status:
        tensor_bytes, rss = self._worker.pipeline.map.num_bytes, resident_bytes()
        return Status("memory", f"map {tensor_bytes / 2**20:.1f} MiB, process {rss / 2**20:.0f} "
                      "MiB", values={"memory.tensor_bytes": str(tensor_bytes),
                                     "memory.resident_bytes": str(rss)})

    def _failing(self, what: str, part: str = "") -> list[Fault]:
        error = self._worker.failing.get(what)
        if error is None:
            return []
        sentence = f"fails: {error}; the map is kept"
        return [Fault(faults.ERROR, part or what, "failing", sentence, is_told=True)]


def _some(fault: Fault | None) -> list[Fault]:
    return [] if fault is None else [fault]
