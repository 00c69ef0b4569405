"""A mapping node and a camera that talk over real DDS, for tests.

The node runs in its own rclpy context and executor thread; the camera's context is another one,
so every message goes through the middleware.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import numpy as np
import rclpy
import torch
from geometry_msgs.msg import TransformStamped
from rcl_interfaces.msg import Log
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header, String
from tf2_msgs.msg import TFMessage

from geopurify_ros.config import Config, with_values
from geopurify_ros.msg import QueryResult
from geopurify_ros.ros.convert import image_from_array, stamp_msg
from geopurify_ros.ros.node import MappingNode

NAMESPACE = "geopurify"
SUCCESS = TransitionCallbackReturn.SUCCESS
CAMERA = "camera_color_optical_frame"
SIZE = (48, 64)
START_NS = 1_000_000_000_000


class ColorEncoder:
    """Features are colours; the texts red, green and blue are what they say."""

    id, feature_dim, logit_scale = "test-color", 3, 20.0

    def encode_image(self, rgb: torch.Tensor) -> torch.Tensor:
        grid = torch.nn.functional.avg_pool2d(rgb, 4, ceil_mode=True)
        return torch.nn.functional.normalize(grid + 1e-6, dim=1)

    def encode_text(self, texts: tuple[str, ...]) -> torch.Tensor:
        names = {"red": (1.0, 0, 0), "green": (0, 1.0, 0), "blue": (0, 0, 1.0)}
        return torch.tensor([names.get(t, (0.58, 0.58, 0.58)) for t in texts])


class Harness:
    """Node and camera; `close` must be called."""

    def __init__(self, encoder=None, **parameters) -> None:
        self.domain = 1 + os.getpid() % 101
        self.node_context, self.camera_context = Context(), Context()
        for context in (self.node_context, self.camera_context):
            rclpy.init(args=[], context=context, domain_id=self.domain)
        parameters = {"purify.period_s": 0.0, "pose.timeout_s": 0.2,
                      "keyframe.max_interval_s": 0.0, **parameters}
        self.node = MappingNode(
            with_values(Config(), parameters), encoder or ColorEncoder(),
            namespace=NAMESPACE, context=self.node_context,
        )
        assert self.node.trigger_configure() == SUCCESS, self.node.problem
        assert self.node.trigger_activate() == SUCCESS, self.node.problem
        self.camera = Camera(self.camera_context)
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

    @staticmethod
    def _spin(node: Node, context: Context) -> tuple[SingleThreadedExecutor, threading.Thread]:
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        thread = threading.Thread(target=executor.spin, daemon=True)
        thread.start()
        return executor, thread

    def _is_connected(self) -> bool:
        """Both ends know each other and the node's QoS has followed the camera's."""
        camera = self.camera
        topics = [camera.resolve_topic_name(t) for t in
                  ("rgb/image", "depth/image", "rgb/camera_info")]
        readers = [camera.get_subscriptions_info_by_topic(t) for t in topics]
        reliable = all(
            len(infos) == 1 and infos[0].qos_profile.reliability == ReliabilityPolicy.RELIABLE
            for infos in readers
        )
        return reliable and all(
            p.get_subscription_count() for p in (camera.rgb, camera.depth, camera.info,
                                                 camera.query)
        ) and camera.count_subscribers("/tf") >= 1 and camera.count_publishers("/rosout") >= 2

    def wait(self, condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{what} did not happen; counts {self.counts()}, said {self.camera.said}"
                )
            time.sleep(0.02)

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

    def settle(self, received: int) -> dict[str, int]:
        """Counts once `received` images are in and each is fused or dropped."""
        def is_settled() -> bool:
            counts = self.counts()
            return counts["received"] >= received and (
                sum(n for name, n in counts.items() if name != "received") == counts["received"]
            )

        self.wait(is_settled, f"{received} frames settled")
        return self.counts()

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
        before = self.counts()
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
        for context in (self.node_context, self.camera_context):
            rclpy.shutdown(context=context)


class Camera(Node):
    """Publishes a red wall two metres ahead; every message can be bent before it goes out."""

    def __init__(self, context: Context) -> None:
        super().__init__("camera", namespace=NAMESPACE, context=context)
        qos = QoSProfile(depth=20)
        self.rgb = self.create_publisher(Image, "rgb/image", qos)
        self.depth = self.create_publisher(Image, "depth/image", qos)
        self.info = self.create_publisher(CameraInfo, "rgb/camera_info", qos)
        self.tf = self.create_publisher(TFMessage, "/tf", qos)
        self.query = self.create_publisher(String, "query", qos)
        self.said: list[str] = []
        self.results: list[QueryResult] = []
        self.clouds: dict[str, PointCloud2] = {}
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(Log, "/rosout", self._on_log, 100)
        self.create_subscription(QueryResult, "query_result", self.results.append, latched)
        for topic in ("labeled_cloud", "raw_labeled_cloud", "map_cloud"):
            self.create_subscription(
                PointCloud2, topic, lambda m, t=topic: self.clouds.__setitem__(t, m), latched
            )
        self.stamp_ns = START_NS
        self.x_m = 0.0

    def _on_log(self, msg: Log) -> None:
        if msg.level >= 30 and msg.name.endswith("mapping"):
            self.said.append(msg.msg)

    def messages(self, size=SIZE, stamp_ns: int | None = None):
        """Colour, depth, camera info and transform of the next frame, 10 cm further on."""
        if stamp_ns is None:
            self.stamp_ns += 100_000_000
            self.x_m += 0.1
            stamp_ns = self.stamp_ns
        height, width = size
        stamp = stamp_msg(stamp_ns)
        rgb = np.zeros((height, width, 3), np.uint8)
        rgb[..., 0] = 200
        depth = np.full((height, width), 2000, np.uint16)
        info = CameraInfo(header=Header(frame_id=CAMERA, stamp=stamp), height=height, width=width)
        info.k = [60.0, 0.0, width / 2, 0.0, 60.0, height / 2, 0.0, 0.0, 1.0]
        transform = TransformStamped(header=Header(frame_id="map", stamp=stamp),
                                     child_frame_id=CAMERA)
        transform.transform.translation.x = self.x_m
        transform.transform.rotation.w = 1.0
        return (
            image_from_array(rgb, "rgb8", CAMERA, stamp),
            image_from_array(depth, "16UC1", CAMERA, stamp),
            info,
            TFMessage(transforms=[transform]),
        )

    def send(self, bend: Callable | None = None, skip: tuple[str, ...] = (), **kwargs) -> None:
        """Publish one frame; `bend(rgb, depth, info, tf)` may spoil it, `skip` leaves out."""
        rgb, depth, info, tf = self.messages(**kwargs)
        if bend is not None:
            bend(rgb, depth, info, tf)
        for name, message in (("tf", tf), ("info", info), ("depth", depth), ("rgb", rgb)):
            if name not in skip:
                getattr(self, name).publish(message)
