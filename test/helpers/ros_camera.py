"""A camera for tests: a red wall two metres ahead, over real DDS."""

from __future__ import annotations

import array
import io
import struct
from collections.abc import Callable

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from PIL import Image as Picture
from rcl_interfaces.msg import Log
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header, String
from tf2_msgs.msg import TFMessage

from geopurify_ros.config import CameraConfig
from geopurify_ros.msg import QueryResult
from geopurify_ros.ros.outputs.to_messages import image_from_array, stamp_msg

NAMESPACE = "geopurify"
CAMERA = "camera_color_optical_frame"
SIZE = (48, 64)
START_NS = 1_000_000_000_000


def compressed(pixels: np.ndarray) -> bytes:
    """JPEG of colour; of depth the header of compressed_depth_image_transport and a PNG."""
    buffer = io.BytesIO()
    Picture.fromarray(pixels).save(buffer, "PNG" if pixels.ndim == 2 else "JPEG")
    head = struct.pack("<iff", 0, 0.0, 0.0) if pixels.ndim == 2 else b""
    return head + buffer.getvalue()


class Camera(Node):
    """Publishes a red wall two metres ahead; every message can be bent before it goes out."""

    def __init__(self, context: Context, reliable: bool, config: CameraConfig) -> None:
        super().__init__("camera", namespace=NAMESPACE, context=context)
        kind = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=20, reliability=kind)
        self._config = config
        if config.rgb_transport == "raw":
            self.rgb = self.create_publisher(Image, "rgb/image", qos)
        else:
            self.rgb = self.create_publisher(CompressedImage, "rgb/image/compressed", qos)
        if config.depth_transport == "raw":
            self.depth = self.create_publisher(Image, "depth/image", qos)
        else:
            suffix = {"compressed": "compressedDepth", "png": "compressed"}
            topic = f"depth/image/{suffix[config.depth_transport]}"
            self.depth = self.create_publisher(CompressedImage, topic, qos)
        self.info = self.create_publisher(CameraInfo, "rgb/camera_info", qos)
        self.tf = self.create_publisher(TFMessage, "/tf", 20)
        self.query = self.create_publisher(String, "query", 20)
        self.said: list[str] = []  # warnings of the node
        self.told: list[str] = []  # what else it logs
        self.results: list[QueryResult] = []
        self.clouds: dict[str, PointCloud2] = {}
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(Log, "/rosout", self._on_log, 100)
        self.statuses: dict[str, DiagnosticStatus] = {}
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.create_subscription(QueryResult, "query_result", self.results.append, latched)
        for topic in ("labeled_cloud", "raw_labeled_cloud", "map_cloud"):
            self.create_subscription(
                PointCloud2, topic, lambda m, t=topic: self.clouds.__setitem__(t, m), latched
            )
        self.stamp_ns = START_NS
        self.x_m = 0.0

    def _on_log(self, msg: Log) -> None:
        if msg.name.endswith("mapping"):
            (self.said if msg.level >= 30 else self.told).append(msg.msg)

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            self.statuses[status.name.removeprefix(f"/{NAMESPACE}/mapping: ")] = status

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
            self._image(rgb, "rgb8", stamp),
            self._image(depth, "16UC1", stamp),
            info,
            TFMessage(transforms=[transform]),
        )

    def _image(self, pixels: np.ndarray, encoding: str, stamp) -> Image | CompressedImage:
        config = self._config
        transport = config.rgb_transport if pixels.ndim == 3 else config.depth_transport
        if transport == "raw":
            return image_from_array(pixels, encoding, CAMERA, stamp)
        made = CompressedImage(header=Header(frame_id=CAMERA, stamp=stamp))
        made.format = "rgb8; jpeg compressed bgr8"
        if pixels.ndim == 2:
            made.format = f"{encoding}; compressedDepth png"
        made.data = array.array("B", compressed(pixels))
        return made

    def send(self, bend: Callable | None = None, skip: tuple[str, ...] = (), **kwargs) -> None:
        """Publish one frame; `bend(rgb, depth, info, tf)` may spoil it, `skip` leaves out."""
        rgb, depth, info, tf = self.messages(**kwargs)
        if bend is not None:
            bend(rgb, depth, info, tf)
        for name, message in (("tf", tf), ("info", info), ("depth", depth), ("rgb", rgb)):
            if name not in skip:
                getattr(self, name).publish(message)
