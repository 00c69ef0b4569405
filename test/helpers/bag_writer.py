"""Writes a sequence as a rosbag2 with the library that reads it, in any camera's manner."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from geopurify_ros.data.readers.sequence import Sequence
from geopurify_ros.ros.outputs.to_messages import quaternion_from_matrix

STORE = get_typestore(Stores.ROS2_KILTED)
TYPES = STORE.types
CAMERA = "camera_color_optical_frame"
PREFIX = "/camera/color", "/camera/aligned_depth_to_color"


def png_of(depth_mm: np.ndarray) -> bytes:
    """compressed_depth_image_transport's payload: its header, then the PNG."""
    buffer = io.BytesIO()
    Image.fromarray(depth_mm).save(buffer, "PNG")
    return struct.pack("<iff", 0, 0.0, 0.0) + buffer.getvalue()


class BagWriter:
    """Topics of a camera and its pose; `compressed` images, poses from `pose` (tf, odom)."""

    def __init__(self, path: Path, storage: str, compressed: bool = False, pose: str = "tf",
                 twice: bool = False,
                 info_topic: str = f"{PREFIX[0]}/camera_info"):
        plugin = {"sqlite3": StoragePlugin.SQLITE3, "mcap": StoragePlugin.MCAP}[storage]
        self.writer = Writer(path, version=9, storage_plugin=plugin)
        self.compressed, self.pose, self.info_topic = compressed, pose, info_topic
        self.twice = twice  # raw and compressed
        self.connections = {}

    def write(self, topic: str, kind: str, message, time_ns: int) -> None:
        if topic not in self.connections:
            self.connections[topic] = self.writer.add_connection(topic, kind, typestore=STORE)
        data = STORE.serialize_cdr(message, kind)
        self.writer.write(self.connections[topic], time_ns, data)

    def header(self, frame: str, time_ns: int):
        sec, nanosec = divmod(time_ns, 1_000_000_000)
        time = TYPES["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
        return TYPES["std_msgs/msg/Header"](stamp=time, frame_id=frame)

    def image(self, name: str, pixels: np.ndarray, encoding: str, time_ns: int) -> None:
        header = self.header(CAMERA, time_ns)
        if not self.compressed:
            kind = "sensor_msgs/msg/Image"
            data = np.frombuffer(np.ascontiguousarray(pixels).tobytes(), np.uint8)
            message = TYPES[kind](
                header=header, height=pixels.shape[0], width=pixels.shape[1], encoding=encoding,
                is_bigendian=0, step=pixels.strides[0], data=data)
            self.write(f"{name}/image_raw", kind, message, time_ns)
            if not self.twice:
                return
        kind = "sensor_msgs/msg/CompressedImage"
        if pixels.ndim == 2:
            suffix, form, payload = "compressedDepth", "16UC1; compressedDepth", png_of(pixels)
        else:
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
            suffix, form, payload = "compressed", "rgb8; jpeg compressed bgr8", buffer.getvalue()
        message = TYPES[kind](header=header, format=form, data=np.frombuffer(payload, np.uint8))
        self.write(f"{name}/image_raw/{suffix}", kind, message, time_ns)

    def camera_info(self, frame, time_ns: int) -> None:
        kind, roi = "sensor_msgs/msg/CameraInfo", "sensor_msgs/msg/RegionOfInterest"
        height, width = frame.depth_m.shape
        message = TYPES[kind](
            header=self.header(CAMERA, time_ns), height=height, width=width,
            distortion_model="plumb_bob", d=np.zeros(5), k=frame.intrinsics.reshape(-1),
            r=np.eye(3).reshape(-1), p=np.zeros(12), binning_x=0, binning_y=0,
            roi=TYPES[roi](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False))
        self.write(self.info_topic, kind, message, time_ns)

    def transform(self, T, time_ns: int) -> None:
        x, y, z, w = quaternion_from_matrix(T[:3, :3]).tolist()
        rotation = TYPES["geometry_msgs/msg/Quaternion"](x=x, y=y, z=z, w=w)
        position = dict(zip("xyz", T[:3, 3].tolist(), strict=True))
        if self.pose == "tf":
            kind = "geometry_msgs/msg/TransformStamped"
            transform = TYPES["geometry_msgs/msg/Transform"](
                translation=TYPES["geometry_msgs/msg/Vector3"](**position), rotation=rotation)
            stamped = TYPES[kind](header=self.header("map", time_ns), child_frame_id=CAMERA,
                                  transform=transform)
            message = TYPES["tf2_msgs/msg/TFMessage"](transforms=[stamped])
            self.write("/tf", "tf2_msgs/msg/TFMessage", message, time_ns)
            return
        pose = TYPES["geometry_msgs/msg/Pose"](
            position=TYPES["geometry_msgs/msg/Point"](**position), orientation=rotation)
        zero = TYPES["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0)
        twist = TYPES["geometry_msgs/msg/Twist"](linear=zero, angular=zero)
        message = TYPES["nav_msgs/msg/Odometry"](
            header=self.header("map", time_ns), child_frame_id=CAMERA,
            pose=TYPES["geometry_msgs/msg/PoseWithCovariance"](pose=pose, covariance=np.zeros(36)),
            twist=TYPES["geometry_msgs/msg/TwistWithCovariance"](
                twist=twist, covariance=np.zeros(36)))
        self.write("/odom", "nav_msgs/msg/Odometry", message, time_ns)


def write_bag(path: Path, folder: Path, frames: range, storage: str, **manner) -> Path:
    """Some frames of a sequence folder as a bag, 10 Hz."""
    sequence = Sequence(folder)
    made = BagWriter(path, storage, **manner)
    with made.writer:
        for i, number in enumerate(frames):
            frame = sequence.frame(number)
            time_ns = 1_700_000_000_000_000_000 + i * 100_000_000
            millimetres = np.nan_to_num(frame.depth_m * 1000).round().astype(np.uint16)
            made.camera_info(frame, time_ns)
            made.image(PREFIX[0], frame.rgb, "rgb8", time_ns)
            made.image(PREFIX[1], millimetres, "16UC1", time_ns)
            made.transform(frame.T_world_camera, time_ns)
    return path
