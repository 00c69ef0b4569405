"""A mapping node and a camera that talk over real DDS, for tests.

The node runs in its own rclpy context and executor thread; the camera's context is another one,
so every message goes through the middleware.
"""

from __future__ import annotations

import contextlib
import gc
import tempfile
import threading
import time
from collections.abc import Callable

import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import ReliabilityPolicy
from ros_camera import CAMERA, NAMESPACE, START_NS, Camera
from std_msgs.msg import String

from geopurify_ros.config import Config, with_values
from geopurify_ros.core.mapping.encoder import AnswerProfile
from geopurify_ros.msg import QueryResult
from geopurify_ros.ros.node import MappingNode
from geopurify_ros.ros.tools.private_domain import give_back, take_domain

__all__ = ["CAMERA", "NAMESPACE", "START_NS", "Camera", "ColorEncoder", "Harness",
           "NamingEncoder", "running"]
SUCCESS = TransitionCallbackReturn.SUCCESS


class ColorEncoder:
    """Features are colours; the texts red, green and blue are what they say."""

    id, feature_dim, logit_scale = "test-color", 3, 20.0

    def encode_image(self, rgb: torch.Tensor) -> torch.Tensor:
        grid = torch.nn.functional.avg_pool2d(rgb, 4, ceil_mode=True)
        return torch.nn.functional.normalize(grid + 1e-6, dim=1)

    def encode_text(self, texts: tuple[str, ...]) -> torch.Tensor:
        names = {"red": (1.0, 0, 0), "green": (0, 1.0, 0), "blue": (0, 0, 1.0)}
        return torch.tensor([names.get(t, (0.58, 0.58, 0.58)) for t in texts])


class NamingEncoder(ColorEncoder):
    """The same with a list of what there may be; a crimson thing is a red one."""

    vocabulary = ("red", "green", "blue", "grey")
    answer_profile = AnswerProfile(synonyms={"crimson": "red"}, slope=0.5, offset=-0.1)


class Harness:
    """Node and camera; `close` must be called."""

    def __init__(
        self, encoder=None, reliable: bool = True, sim_time: bool = False, **parameters
    ) -> None:
        """`reliable`: the camera's publishers; `sim_time`: use_sim_time of the node.

        The camera compresses where the parameters say that the node reads that.
        """
        # several may live at once, and must not hear each other
        self.domain = take_domain()
        self.node_context, self.camera_context = Context(), Context()
        for context in (self.node_context, self.camera_context):
            rclpy.init(args=[], context=context, domain_id=self.domain)
        # maps of tests lie in folders of their own, wherever those are
        parameters = {"purify.period_s": 0.0, "pose.timeout_s": 0.2,
                      "keyframe.max_interval_s": 0.0, "map.folder": tempfile.gettempdir(),
                      **parameters}
        self.node = MappingNode(
            with_values(Config(), parameters), encoder or ColorEncoder(),
            namespace=NAMESPACE, context=self.node_context,
            parameter_overrides=[Parameter("use_sim_time", value=sim_time)],
        )
        self._is_reliable = reliable
        self._expected = {"auto": reliable, "reliable": True, "best_effort": False}
        assert self.node.trigger_configure() == SUCCESS, self.node.problem
        assert self.node.trigger_activate() == SUCCESS, self.node.problem
        self.camera = Camera(
            self.camera_context, reliable, self.node.config.camera
        )
        self._strangers: list[Node] = []
        self._threads = [
            self._spin(node, context)
            for node, context in ((self.node, self.node_context),
                                  (self.camera, self.camera_context))
        ]
        try:
            self.wait(self._is_connected, "discovery")
        except AssertionError:
            self.close()
            raise

    def stranger(self) -> Node:
        """A node of another process, as DDS sees it; it goes when the harness closes."""
        context = Context()
        rclpy.init(args=[], context=context, domain_id=self.domain)
        self._strangers.append(Node("stranger", namespace=NAMESPACE, context=context))
        return self._strangers[-1]

    @staticmethod
    def _spin(node: Node, context: Context) -> tuple[SingleThreadedExecutor, threading.Thread]:
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        thread = threading.Thread(target=executor.spin, daemon=True)
        thread.start()
        return executor, thread

    def _is_connected(self) -> bool:
        """Both ends know each other and the node's QoS has followed the camera's."""
        camera, qos = self.camera, self.node.config.qos
        for publisher, asked in ((camera.rgb, qos.rgb_reliability),
                                 (camera.depth, qos.depth_reliability),
                                 (camera.info, qos.info_reliability)):
            readers = camera.get_subscriptions_info_by_topic(publisher.topic_name)
            wanted = self._expected[asked]
            if len(readers) != 1 or wanted != (
                readers[0].qos_profile.reliability == ReliabilityPolicy.RELIABLE
            ):
                return False
            if (self._is_reliable or not wanted) and not self._have_met(publisher):
                return False
        return bool(
            camera.query.get_subscription_count() and camera.count_subscribers("/tf") >= 1
            and camera.count_publishers("/rosout") >= 2 and camera.count_publishers("/diagnostics")
        )

    def _have_met(self, publisher) -> bool:
        """Writer and reader know each other, which is later than that the graph shows them.

        Between the two a message without a second delivery is lost.
        """
        readers = [s for s in self.node.subscriptions if s.topic_name == publisher.topic_name]
        try:
            return publisher.get_subscription_count() == 1 and (
                [r.get_publisher_count() for r in readers] == [1]
            )
        except InvalidHandle:  # the node has just made another one
            return False

    def wait(
        self, condition: Callable[[], bool], what: str, timeout_s: float = 60.0,
        pause_s: float = 0.02,
    ) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{what} did not happen; counts {self.counts()}, said {self.camera.said}"
                )
            time.sleep(pause_s)

    def wait_for_reader(self, publisher) -> None:
        """The node hears this reliable publisher and has settled its own QoS."""
        def is_reliable() -> bool:
            readers = self.camera.get_subscriptions_info_by_topic(publisher.topic_name)
            return publisher.get_subscription_count() == 1 and any(
                r.qos_profile.reliability == ReliabilityPolicy.RELIABLE for r in readers
            )

        self.wait(is_reliable, f"a reader of {publisher.topic_name}")

    def counts(self) -> dict[str, int]:
        return self.node.counts.snapshot()

    def at_rest(self) -> dict[str, int]:
        """Counts once nothing is on its way: all is accounted for, or waits for a partner."""
        seen, since_s = self.counts(), time.monotonic()
        while seen["received"] != sum(n for name, n in seen.items() if name != "received"):
            time.sleep(0.01)
            counts = self.counts()
            if counts != seen:
                seen, since_s = counts, time.monotonic()
            elif time.monotonic() - since_s > 0.5:
                break
        return seen

    def settle(self, received: int) -> dict[str, int]:
        """Counts once `received` images are in and each is fused or dropped."""
        def is_settled() -> bool:
            counts = self.counts()
            return counts["received"] >= received and (
                sum(n for name, n in counts.items() if name != "received") == counts["received"]
            )

        self.wait(is_settled, f"{received} frames settled")
        return self.counts()

    def status(self, part: str) -> DiagnosticStatus:
        """The newest entry `part` of /diagnostics."""
        self.wait(lambda: part in self.camera.statuses, f"diagnostics of {part}")
        return self.camera.statuses[part]

    def wait_for_fault(self, part: str, *pieces: str) -> str:
        """The entry `part` is not well, and its message holds all pieces; returns it."""
        def is_named() -> bool:
            status = self.camera.statuses.get(part)
            return status is not None and status.level != DiagnosticStatus.OK and all(
                piece in status.message for piece in pieces
            )

        try:
            self.wait(is_named, f"a fault of {part} with {pieces}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it says {self.camera.statuses.get(part)}") from None
        return self.camera.statuses[part].message

    def wait_until_well(self) -> None:
        """No entry of /diagnostics has a fault."""
        def bad() -> list[str]:
            return [s.message for s in self.camera.statuses.values()
                    if s.level != DiagnosticStatus.OK]

        self.camera.statuses.clear()
        self.wait(lambda: len(self.camera.statuses) == 8 and not bad(), "a healthy report")

    def call(self, kind, service: str, request):
        """Call a service of the node and wait for its response."""
        client = self.camera.create_client(kind, f"mapping/{service}")
        self.wait(client.service_is_ready, f"the service {service}")
        future = client.call_async(request)
        self.wait(future.done, f"an answer of {service}")
        self.camera.destroy_client(client)
        return future.result()

    def set_parameter(self, name: str, value) -> SetParametersResult:
        """`ros2 param set`."""
        message = Parameter(name, value=value).to_parameter_msg()
        return self.call(
            SetParameters, "set_parameters", SetParameters.Request(parameters=[message])
        ).results[0]

    def wait_for_silence(self) -> None:
        """All that was sent has come in or is lost: nothing arrives for half a second."""
        seen, since_s = -1, 0.0

        def is_silent() -> bool:
            nonlocal seen, since_s
            received = self.counts()["received"]
            if received != seen:
                seen, since_s = received, time.monotonic()
            return time.monotonic() - since_s > 0.5

        self.wait(is_silent, "silence")
        self.settle(seen)

    def fuse(self, frames: int = 1, **kwargs) -> None:
        """Good frames, one after the other; each is fused."""
        for _ in range(frames):
            before = self.at_rest()
            self.camera.send(**kwargs)
            counts = self.settle(before["received"] + 1)
            assert counts["fused"] == before["fused"] + 1, (counts, self.camera.said)

    def wait_for_warning(self, *parts: str) -> str:
        """The one warning that holds all parts."""
        def matching() -> list[str]:
            return [text for text in self.camera.said if all(p in text for p in parts)]

        self.wait(lambda: bool(matching()), f"a warning with {parts}")
        return matching()[0]

    def ask(self, text: str, purified: int = 0) -> QueryResult:
        """Publish a query on the String topic and wait for the answer."""
        self.camera.results.clear()
        self.camera.query.publish(String(data=text))
        self.wait(
            lambda: any(r.num_purifications >= purified for r in self.camera.results),
            f"an answer to {text!r}",
        )
        return self.camera.results[-1]

    def assert_alive(self) -> None:
        """A good frame is still fused, a query still answered, and the map is finite."""
        before = self.at_rest()
        self.camera.send()
        counts = self.settle(before["received"] + 1)
        assert counts["fused"] == before["fused"] + 1, (counts, self.camera.said)
        assert self.ask("red").results[0].num_voxels > 0
        voxels = self.node.worker.pipeline.map
        assert torch.isfinite(voxels.features()).all()
        assert torch.isfinite(voxels.centers_m()).all()

    def close(self) -> None:
        self.node.close()
        for executor, thread in self._threads:
            executor.shutdown()
            thread.join(timeout=5)
        self.node.destroy_node()
        self.camera.destroy_node()
        for stranger in self._strangers:
            stranger.destroy_node()
            rclpy.shutdown(context=stranger.context)
        for context in (self.node_context, self.camera_context):
            rclpy.shutdown(context=context)
        give_back(self.domain)
        # A lifecycle node holds itself in a cycle, and with it the /rosout of its name: the next
        # node of that name would be silent.
        self.node = None
        gc.collect()


@contextlib.contextmanager
def running(**arguments):
    """A harness that is closed at the end."""
    harness = Harness(**arguments)
    try:
        yield harness
    finally:
        harness.close()
