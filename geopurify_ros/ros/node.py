"""The node `mapping`: RGB-D and poses in, labelled clouds out.

It converts, schedules and publishes; the method is core/pipeline.py. A managed node: configure
loads the weights, activate subscribes, deactivate stops and keeps the map, cleanup frees memory.
"""

from __future__ import annotations

import contextlib
import gc
import traceback

import torch
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from geopurify_ros.config import Config
from geopurify_ros.core.mapping.encoder import ImageTextEncoder
from geopurify_ros.core.mapping.keyframe import KeyframeGate
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.errors import GeoPurifyError
from geopurify_ros.ros.inputs.frame_inputs import FrameInputs
from geopurify_ros.ros.late_vocabulary import LateVocabulary
from geopurify_ros.ros.model_loading import Loading, load
from geopurify_ros.ros.outputs.publishers import Outputs
from geopurify_ros.ros.outputs.watchdog import Watchdog
from geopurify_ros.ros.params import check_prompts_in, declare_config, follow_changes
from geopurify_ros.ros.report import FrameCounts, Reporter
from geopurify_ros.ros.services.map_services import MapServices
from geopurify_ros.ros.services.queries import Queries
from geopurify_ros.ros.worker import MappingWorker

_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class MappingNode(LifecycleNode):
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
        check_prompts_in(self.config)
        follow_changes(
            self, lambda: self.config, lambda: self.worker is not None, self._change
        )
        self.counts = FrameCounts()
        self.worker: MappingWorker | None = None
        self.problem: Exception | None = None  # why the last transition failed
        self.loading: Loading | None = None  # of weights, before the node is configured
        self._encoder = encoder
        self._reporter = Reporter(self.get_logger())
        self._outputs: Outputs | None = None
        self._inputs: FrameInputs | None = None
        self._queries: Queries | None = None
        self._purify_timer = None
        self._reset_is_owed = False  # time jumped back, and the map is still there
        self._served: list = []  # what lives while the node is configured, with destroy()
        self._parts: list = []  # what lives while the node is active, with destroy()
        # A service that awaits the worker keeps its group busy; images are in another one.
        self._service_group = ReentrantCallbackGroup()

    @property
    def is_active(self) -> bool:
        """Between activate and deactivate."""
        return bool(self._parts)

    def begin_loading(self) -> None:
        """Read the weights already, while the node is spun; `configure` will wait for them."""
        self.loading = Loading(self, self.config, self._encoder)

    def destroy_node(self) -> None:
        """End all; without its state machine, which holds the node, it would stay in the graph."""
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    def on_configure(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Load the encoder and create the publishers."""
        return self._guarded("configure", self._configure)

    def on_activate(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start to work."""
        return self._guarded("activate", self._activate)

    def on_deactivate(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """End subscriptions and work; the map stays."""
        return self._guarded("deactivate", self._deactivate)

    def on_cleanup(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """Free the map and the encoder."""
        return self._guarded("cleanup", self._cleanup)

    def on_shutdown(self, _state: LifecycleState) -> TransitionCallbackReturn:
        """End for good, from any state."""
        if self.is_active:
            self._guarded("deactivate", self._deactivate)
        return self._guarded("cleanup", self._cleanup)

    def close(self) -> None:
        """Stop without a transition, as the context may be gone: the process ends."""
        if self.is_active:
            self._guarded("deactivate", self._deactivate)
        self._guarded("end", self._end_services)

    def _guarded(self, name: str, transition) -> TransitionCallbackReturn:
        """Run a transition; a failure is told and leaves the node in the state before."""
        self.problem = None
        try:
            transition()
        except GeoPurifyError as error:
            self.problem = error
            self.get_logger().error(f"cannot {name}: {error}")
        except Exception as error:  # rclpy would swallow it
            self.problem = error
            if self.context.ok():
                self.get_logger().error(f"cannot {name}: {traceback.format_exc(limit=-4)}")
        return _SUCCESS if self.problem is None else _FAILURE

    def _configure(self) -> None:
        try:
            self._make_parts()
        except Exception:
            self._cleanup()
            raise

    def _make_parts(self) -> None:
        loading, self.loading = self.loading, None
        made = (
            loading.result() if loading is not None and loading.fits(self.config)
            else load(self.config, self._encoder, self.get_logger().info)
        )
        pipeline = Pipeline(made.encoder, self.config, made.device, made.student)
        knows = pipeline.knows = LateVocabulary(made.encoder, made.device, self._reporter)
        gate, group = KeyframeGate(self.config.keyframe), self._service_group
        self._outputs = Outputs(self, self.config.map.frame)
        self.worker = MappingWorker(pipeline, gate, self.counts, self._reporter, self._outputs)
        self._outputs.on_match = self.worker.request_map
        # They outlive deactivate: whoever waits then still gets an answer.
        self._queries = Queries(
            self, lambda: self.config, self.worker, self._outputs, self._reporter, group
        )
        self._served = [
            self._queries, MapServices(self, self.config.map, self.worker, group),
            knows,
        ]
        knows.begin(self.worker.request_answer)

    def _activate(self) -> None:
        worker = self.worker
        try:
            self._inputs = FrameInputs(
                self, self.config, self.counts, self._reporter, worker, self._time_jumped
            )
            self._parts = [self._inputs]
            self._parts.append(
                Watchdog(self, self._inputs, worker, self.counts, self._reporter)
            )
        except Exception:
            self._deactivate()
            raise
        worker.start()
        if self._reset_is_owed:
            worker.replace_map(Pipeline.reset, 0, self._was_reset)
        self._set_purify_timer()
        topics = self._inputs.topics
        self.get_logger().info(
            f"mapping: images on {topics.rgb} and {topics.depth}, calibration on {topics.info}, "
            f"poses from {self._inputs.poses.topic}; ask on {self.resolve_topic_name('query')}"
        )

    def _deactivate(self) -> None:
        parts, self._parts = self._parts, []
        for part in reversed(parts):
            part.destroy()
        self._set_purify_timer()
        self.worker.stop()

    def _end_services(self) -> None:
        services, self._served = self._served, []
        for service in services:
            service.destroy()

    def _cleanup(self) -> None:
        self._end_services()
        self.worker = self._inputs = self._queries = None
        self._reset_is_owed = False
        if self._outputs is not None:
            self._outputs.destroy()
        self._outputs = None
        gc.collect()
        if torch.cuda.is_initialized():
            with contextlib.suppress(RuntimeError):  # a broken card must not keep the map
                torch.cuda.empty_cache()  # for other processes: torch would keep it for itself

    def _set_purify_timer(self) -> None:
        if self._purify_timer is not None:
            self.destroy_timer(self._purify_timer)
        period_s = self.config.purify.period_s
        wanted = self.is_active and period_s > 0
        self._purify_timer = (
            self.create_timer(period_s, self.worker.request_purify) if wanted else None
        )

    def _change(self, config: Config) -> None:
        """Take new values of live parameters."""
        old, self.config = self.config, config
        if self.worker is not None:
            self.worker.configure(config)
            if config.query != old.query:
                self._queries.config_changed(old.query)
        if self.is_active:
            self._inputs.config = config
            if config.purify.period_s != old.purify.period_s:
                self._set_purify_timer()

    def _time_jumped(self) -> None:
        if self.config.time.on_jump_back == "reset":
            self.worker.replace_map(Pipeline.reset, 0, self._was_reset)

    def _was_reset(self, result) -> None:
        """On the worker's thread, or while it is stopped: then the map is emptied at its start."""
        self._reset_is_owed = isinstance(result, Exception)
