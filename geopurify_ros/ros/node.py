"""The node `mapping`: RGB-D and poses in, labelled clouds out.

It converts, schedules and publishes; the method is core/pipeline.py. configure(), activate() and
deactivate() have the meaning of a lifecycle node's transitions.
"""

from __future__ import annotations

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import String
from std_srvs.srv import Trigger

from geopurify_ros.config import Config
from geopurify_ros.core.keyframe import KeyframeGate
from geopurify_ros.core.pipeline import ImageTextEncoder, Pipeline
from geopurify_ros.core.query import TextQuery, check_prompts, make_query, parse_prompts
from geopurify_ros.data.student_file import student_for
from geopurify_ros.encoders import load_encoder, pick_device
from geopurify_ros.errors import ConfigError, InputError
from geopurify_ros.msg import SemanticQuery
from geopurify_ros.ros.inputs import FrameInputs
from geopurify_ros.ros.outputs import Outputs
from geopurify_ros.ros.params import declare_config
from geopurify_ros.ros.report import FrameCounts, Reporter
from geopurify_ros.ros.worker import MappingWorker
from geopurify_ros.srv import Query


class MappingNode(Node):
    """Subscriptions, publications and services of the mapping node."""

    def __init__(
        self,
        defaults: Config | None = None,
        encoder: ImageTextEncoder | None = None,
        **node_arguments,
    ) -> None:
        """Declare the parameters; `encoder` replaces parameter encoder.name (tests).

        Raises:
            ConfigError: a parameter cannot be used.
        """
        super().__init__("mapping", **node_arguments)
        self.config = declare_config(self, defaults or Config())
        self.counts = FrameCounts()
        self._encoder = encoder
        self._reporter = Reporter(self.get_logger())
        self._active_parts: list = []
        self._query: TextQuery | None = None
        # A service that awaits the worker keeps its group busy; images are in another one. Its
        # coroutine is resumed whenever the executor wakes, by the input timers at the latest.
        self._service_group = ReentrantCallbackGroup()

    @property
    def is_active(self) -> bool:
        """Between activate() and deactivate()."""
        return bool(self._active_parts)

    def configure(self) -> None:
        """Load the encoder and create the publishers.

        Raises:
            ConfigError, CheckpointError: the encoder or the device cannot be had.
        """
        device = pick_device(self.config.encoder.device)
        self.get_logger().info(f"loading encoder {self.config.encoder.name} on {device}")
        encoder = self._encoder or load_encoder(self.config.encoder.name, device)
        self._outputs = Outputs(self, self.config.map.frame, self.config.query.min_voxels)
        gate = KeyframeGate(self.config.keyframe)
        student = student_for(
            self.config.purify, encoder, self.config.map.voxel_size_m, device
        )
        pipeline = Pipeline(encoder, self.config, device, student)
        self.worker = MappingWorker(pipeline, gate, self.counts, self._reporter, self._outputs)

    def activate(self) -> None:
        """Subscribe and start to work."""
        self.worker.start()
        if self.config.query.initial:
            self._set_query(self._checked(self.config.query.initial))
        self._inputs = FrameInputs(
            self, self.config, self.counts, self._reporter, self.worker.submit_frame
        )
        self._active_parts = [
            (self.destroy_subscription, self.create_subscription(
                String, "query", self._on_query, 10)),
            (self.destroy_subscription, self.create_subscription(
                SemanticQuery, "semantic_query", self._on_semantic_query, 10)),
            (self.destroy_service, self.create_service(
                Query, "~/query", self._on_ask, callback_group=self._service_group)),
            (self.destroy_service, self.create_service(
                Trigger, "~/purify", self._on_purify, callback_group=self._service_group)),
            (self.destroy_timer, self.create_timer(1.0, self._every_second)),
        ]
        period_s = self.config.purify.period_s
        if period_s > 0:
            timer = self.create_timer(period_s, self.worker.request_purify)
            self._active_parts.append((self.destroy_timer, timer))
        self.get_logger().info(
            f"mapping: images on {self.resolve_topic_name('rgb/image')} and "
            f"{self.resolve_topic_name('depth/image')}, poses from {self.config.pose.source}; "
            f"ask on {self.resolve_topic_name('query')}"
        )

    def deactivate(self) -> None:
        """End subscriptions and work; the map stays."""
        for destroy, part in self._active_parts:
            destroy(part)
        self._active_parts = []
        self._inputs.destroy()
        self.worker.stop()

    def _on_query(self, msg: String) -> None:
        try:
            self._set_query(self._checked(msg.data))
        except InputError as error:
            self._reporter.warn(self.resolve_topic_name("query"), str(error))

    def _checked(self, text: str) -> TextQuery:
        prompts = parse_prompts(text, self.config.query.max_prompts)
        return make_query(prompts, self._negatives([]), self.config.query.threshold)

    def _negatives(self, given: list[str]) -> tuple[str, ...]:
        default = self.config.query.negatives
        if given:
            return check_prompts(given, self.config.query.max_prompts)
        return parse_prompts(default, self.config.query.max_prompts) if default else ()

    def _on_semantic_query(self, msg: SemanticQuery) -> None:
        try:
            self._set_query(self._edited(msg))
        except InputError as error:
            self._reporter.warn(self.resolve_topic_name("semantic_query"), str(error))

    def _edited(self, msg: SemanticQuery) -> TextQuery | None:
        """The active query after a SemanticQuery; None when no prompt is left."""
        active = list(self._query.prompts) if self._query else []
        if msg.action == SemanticQuery.ACTION_CLEAR:
            return None
        if msg.action == SemanticQuery.ACTION_REMOVE:
            left = [p for p in active if p not in check_prompts(list(msg.prompts), 1000)]
            if not left:
                return None
            wanted = left
        elif msg.action == SemanticQuery.ACTION_ADD:
            wanted = active + list(msg.prompts)
        elif msg.action == SemanticQuery.ACTION_SET:
            wanted = list(msg.prompts)
        else:
            raise InputError(f"there is no action {msg.action}: see msg/SemanticQuery.msg")
        return self._made(wanted, list(msg.negatives), msg.threshold)

    def _made(self, prompts: list[str], negatives: list[str], threshold: float) -> TextQuery:
        if not 0.0 <= threshold <= 1.0:  # false for NaN too
            raise InputError(f"the threshold is {threshold}, expected 0 to 1")
        return make_query(
            check_prompts(prompts, self.config.query.max_prompts),
            self._negatives(negatives),
            threshold or self.config.query.threshold,
        )

    def _set_query(self, asked: TextQuery | None) -> None:
        self._query = asked
        names = ", ".join(asked.prompts) if asked else "nothing"
        self.get_logger().info(f"active query: {names}")
        self.worker.set_query(asked)

    async def _on_ask(self, request: Query.Request, response: Query.Response) -> Query.Response:
        try:
            asked = self._made(list(request.prompts), list(request.negatives), request.threshold)
        except InputError as error:
            response.message = str(error)
            return response
        future = Future()
        if not self.worker.ask(asked, future.set_result):
            response.message = "too many queries are waiting, ask again later"
            return response
        result = await future
        if isinstance(result, Exception):
            response.message = f"the query failed: {result}"
            return response
        answer, stamp_ns = result
        response.result = self._outputs.result(self.worker.pipeline, asked, answer, stamp_ns)
        found = sum(r.found for r in response.result.results)
        response.success = True
        response.message = f"{found} of {len(asked.prompts)} prompts found"
        return response

    async def _on_purify(
        self, _request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        future = Future()
        self.worker.request_purify(future.set_result)
        result = await future
        response.success = not isinstance(result, Exception)
        response.message = (
            f"purified {result.num_voxels} voxels, entropy {result.entropy:.2f}"
            if response.success else f"purification failed: {result}"
        )
        return response

    def _every_second(self) -> None:
        self.worker.request_map()
        counts = self.counts.snapshot()
        pipeline = self.worker.pipeline
        values = {f"frames.{name}": str(n) for name, n in counts.items()}
        values["map.voxels"] = str(len(pipeline.map))
        values["map.bytes"] = str(pipeline.map.num_bytes)
        values["purify.count"] = str(pipeline.num_purifications)
        if self.worker.last_purify:
            values["purify.entropy"] = f"{self.worker.last_purify.entropy:.3f}"
        if self.worker.last_answer:
            effect = self.worker.last_answer.effect
            values["purify.changed"] = f"{effect.changed:.3f}"
            values["purify.boundary_before"] = f"{effect.boundary_before:.3f}"
            values["purify.boundary_after"] = f"{effect.boundary_after:.3f}"
            values["purify.declined"] = self.worker.last_answer.objection
        for stage, ms in pipeline.stopwatch.median_ms().items():
            values[f"median_ms.{stage}"] = f"{ms:.1f}"
        fused = counts["fused"]
        summary = f"{fused} frames fused, {len(pipeline.map)} voxels"
        self._outputs.diagnostics(summary, values, warn=fused == 0)


def check_parameters(config: Config) -> None:
    """Raise ConfigError for what only a query can tell: prompts in parameters."""
    try:
        if config.query.initial:
            parse_prompts(config.query.initial, config.query.max_prompts)
        if config.query.negatives:
            parse_prompts(config.query.negatives, config.query.max_prompts)
    except InputError as error:
        raise ConfigError(f"query.initial or query.negatives: {error}") from error
