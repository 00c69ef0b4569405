"""`geopurify bench --node`: how the real node keeps up with a camera on a large map.

The node is a process of its own; frames, the query and the clouds go over DDS as they do on a
robot. Figures come from what was received and from the node's diagnostics.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import torch
from sensor_msgs.msg import PointCloud2

from geopurify_ros.config import Config, with_values
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.data.map_file import save_map
from geopurify_ros.data.readers.sequence import Sequence
from geopurify_ros.encoders import load_encoder
from geopurify_ros.errors import GeoPurifyError
from geopurify_ros.ros.shutdown_signals import ros_session
from geopurify_ros.ros.tools.demo import NAMESPACE, DemoClient
from geopurify_ros.ros.tools.private_domain import isolated_environment
from geopurify_ros.ros.tools.processes import is_alive, start, stop
from geopurify_ros.ros.tools.sequence_player import Player
from geopurify_ros.srv import MapFile

PROMPTS = (
    "sofa, armchair, coffee table, bookshelf, plant, lamp, tv, rug, cushion, picture, curtain, "
    "window, door, wall, floor, ceiling, chair, table, cabinet, radiator"
)
_GAP_VOXELS = 20  # between the copies of the room
_START_S, _LOAD_S, _PURIFY_S, _DRAIN_S = 120.0, 60.0, 120.0, 6.0


class _Listener(DemoClient):
    """Also notes when which cloud came."""

    def __init__(self) -> None:
        super().__init__(("labeled_cloud",))
        self.before: dict[str, int] = {}  # counts of frames when playing began
        self.clouds: list[tuple[int, int]] = []  # received, stamp of the newest frame in it, ns
        self.resident: list[int] = []

    def is_purified(self) -> bool:
        """Whether all of the loaded map is."""
        return int(self.status.get("purify.count", 0)) > 0 and (
            self.status.get("purify.waiting_voxels") == "0")

    def spin(self, seconds: float) -> None:
        """Listen for so long."""
        end, before = time.monotonic() + seconds, None
        while time.monotonic() < end:
            rclpy.spin_once(self, timeout_sec=0.05)
            cloud: PointCloud2 | None = self.newest.get("labeled_cloud")
            if cloud is not None and cloud is not before:
                before = cloud
                stamp = cloud.header.stamp
                self.clouds.append((time.time_ns(), stamp.sec * 10**9 + stamp.nanosec))
            if "memory.resident_bytes" in self.status:
                self.resident.append(int(self.status["memory.resident_bytes"]))


def node_trial(
    folder: Path, copies: int = 4, num_frames: int = 100, rate_hz: float = 5.0,
    enlarged: int = 1, prompts: str = PROMPTS, dtype: str = "float32",
) -> dict[str, Any]:  # fmt: skip
    """Play frames of a sequence at a node that holds copies of its map already.

    Args:
        folder: the sequence.
        copies: of its room, side by side.
        num_frames: that are played; from the beginning again at the end.
        rate_hz: of them.
        enlarged: times the size of the images.
        prompts: of the active query.
        dtype: parameter encoder.dtype.
    """
    sequence = Sequence(folder)
    frames = [_enlarged(sequence.frame(n), enlarged) for n in range(len(sequence))]
    os.environ.update(isolated_environment())
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        num_voxels = _save_copies(sequence, copies, out / "copies.safetensors", dtype)
        with (out / "node.log").open("w") as log, ros_session():
            client, player, node = _Listener(), Player("map", namespace=NAMESPACE), None
            try:
                node = start([
                    "run", "--namespace", NAMESPACE, "--set", f"map.folder={out}",
                    "--set", "keyframe.min_translation_m=0", "--set",
                    "keyframe.min_rotation_rad=0", "--set", "keyframe.max_interval_s=0",
                    "--set", f"encoder.dtype={dtype}", "--set", "pose.source=pose",
                ], log)  # fmt: skip
                client.wait("the node", lambda: is_alive(node, out) and client.is_node_up(),
                            _START_S)
                _load(client)
                client.publish_query(prompts)
                client.wait("the answer", lambda: "query_result" in client.newest, _LOAD_S)
                client.wait("a purification", client.is_purified, _PURIFY_S)
                stamps = _play(client, player, frames, num_frames, rate_hz)
            finally:
                stop(node)
                client.destroy_node()
                player.destroy_node()
        return {"voxels": num_voxels, "rate_hz": rate_hz,
                "image": list(frames[0].depth_m.shape[::-1])} | _figures(client, stamps)


def _play(
    client: _Listener, player: Player, frames: list[RgbdFrame], count: int, rate_hz: float
) -> list[int]:
    """Stamps of the frames, ns."""
    client.before = _counts(client)
    stamps: list[int] = []

    def play() -> None:
        due = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, due - time.monotonic()))
            due += 1.0 / rate_hz
            stamps.append(time.time_ns())
            player.publish(frames[number % len(frames)], stamps[-1])

    client.clouds.clear()
    client.resident.clear()
    thread = threading.Thread(target=play)
    thread.start()
    client.spin(count / rate_hz + _DRAIN_S)
    thread.join()
    return stamps


def _counts(client: _Listener) -> dict[str, int]:
    return {k[7:]: int(v) for k, v in client.status.items() if k.startswith("frames.")}


def _figures(client: _Listener, stamps: list[int]) -> dict[str, Any]:
    frames = {k: n - client.before.get(k, 0) for k, n in _counts(client).items()}
    waits = []
    for stamp in stamps:
        seen = [received for received, newest in client.clouds if newest >= stamp]
        if seen:
            waits.append((seen[0] - stamp) * 1e-9)
    third = max(1, len(client.resident) // 3)
    return {
        "played": len(stamps), "frames": frames,
        "fused_share": round(frames.get("fused", 0) / max(1, len(stamps)), 3),
        "clouds": len(client.clouds), "in_no_cloud": len(stamps) - len(waits),
        "latency_s": {"median": round(statistics.median(waits), 2),
                      "p95": round(float(np.quantile(waits, 0.95)), 2)} if waits else {},
        "resident_mb": [round(statistics.median(part) / 2**20)
                        for part in (client.resident[:third], client.resident[-third:])],
        "stage_ms": {k[10:]: float(v) for k, v in client.status.items()
                     if k.startswith("median_ms.")},
        "purify": {k: v for k, v in client.status.items() if k.startswith("purify.")},
    }


def _load(client: _Listener) -> None:
    service = client.create_client(MapFile, "mapping/load_map")
    if not service.wait_for_service(timeout_sec=_START_S):
        raise GeoPurifyError("the node offers no load_map")
    future = service.call_async(MapFile.Request(file_path="copies"))
    client.wait("the map", future.done, _LOAD_S)
    if not future.result().success:
        raise GeoPurifyError(future.result().message)


def _save_copies(sequence: Sequence, copies: int, path: Path, dtype: str) -> int:
    """A map of the sequence, several times side by side."""
    config = with_values(Config(), {"encoder.dtype": dtype})
    encoder = load_encoder("builtin", torch.device("cpu"), dtype)
    pipeline = Pipeline(encoder, config)
    for number in range(len(sequence)):
        pipeline.integrate(sequence.frame(number))
    state = pipeline.map.state()
    size = state["coords"].amax(dim=0) - state["coords"].amin(dim=0) + _GAP_VOXELS
    shifts = [torch.tensor([k % 2, k // 2, 0], dtype=torch.int32) * size for k in range(copies)]
    whole = {name: torch.cat([held] * copies) for name, held in state.items()}
    whole["coords"] = torch.cat([state["coords"] + shift for shift in shifts])
    made = VoxelMap.from_state(whole, config.map.voxel_size_m)
    made.up_sum = pipeline.map.up_sum
    save_map(path, made, encoder.id, config.map.frame, encoder_dtype=dtype)
    return len(made)


def _enlarged(frame: RgbdFrame, times: int) -> RgbdFrame:
    if times == 1:
        return frame
    intrinsics = frame.intrinsics.copy()
    intrinsics[:2] *= times
    rgb, depth_m = (image.repeat(times, axis=0).repeat(times, axis=1)
                    for image in (frame.rgb, frame.depth_m))
    return RgbdFrame(rgb, depth_m, intrinsics, frame.T_world_camera, frame.stamp_ns)
