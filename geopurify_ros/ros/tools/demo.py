"""`geopurify demo`: the node and a player as two processes, asked and judged from a third.

All figures come from the clouds that were received over DDS, not from the node's inside.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import String
from std_srvs.srv import Trigger

from geopurify_ros.config import Config
from geopurify_ros.data.output_files import write_report
from geopurify_ros.data.readers.sequence import Sequence
from geopurify_ros.errors import GeoPurifyError, InputError
from geopurify_ros.evaluate.clouds import LabeledPoints, cloud_scores
from geopurify_ros.msg import PromptResult, QueryResult
from geopurify_ros.ros.outputs.point_cloud2 import read_points
from geopurify_ros.ros.shutdown_signals import ros_session
from geopurify_ros.ros.tools.demo_files import write_picture, write_ply
from geopurify_ros.ros.tools.private_domain import isolated_environment
from geopurify_ros.ros.tools.processes import is_alive, start, stop

NAMESPACE = "geopurify"
FIRST_QUERY = "armchair, sofa, piano, plant, radiator, refrigerator"  # the sample room has none
CLOUDS = ("labeled_cloud", "raw_labeled_cloud", "map_cloud")
_START_S, _STEP_S = 120.0, 60.0


@dataclass
class Reply:
    """Everything that came back for one query."""

    result: QueryResult
    labeled: LabeledPoints
    raw: LabeledPoints


class DemoClient(Node):
    """Listens as RViz would, asks as `ros2 topic pub` would."""

    def __init__(self, clouds: tuple[str, ...] = CLOUDS) -> None:
        """Subscribe to outputs of the node."""
        super().__init__("demo", namespace=NAMESPACE)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.newest: dict[str, Any] = {}
        for topic in (*clouds, "query_result"):
            kind = PointCloud2 if topic in clouds else QueryResult
            self.create_subscription(
                kind, topic, lambda m, t=topic: self.newest.__setitem__(t, m), latched
            )
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._query = self.create_publisher(String, "query", 10)
        self._purify = self.create_client(Trigger, "mapping/purify")
        self.status: dict[str, str] = {}
        self.first_fused_s: float | None = None  # after the start of this process

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        mine = [s for s in msg.status if s.hardware_id == f"/{NAMESPACE}/mapping"]
        if mine:
            self.status = {entry.key: entry.value for s in mine for entry in s.values}
        if self.first_fused_s is None and int(self.status.get("frames.fused", 0)):
            self.first_fused_s = _process_age_s()

    def wait(self, what: str, is_done: Callable[[], bool], timeout_s: float) -> None:
        """Spin until `is_done`; GeoPurifyError with the name of what did not come."""
        deadline = time.monotonic() + timeout_s
        while not is_done():
            if time.monotonic() > deadline:
                raise GeoPurifyError(f"{what} did not come within {timeout_s:g} s")
            rclpy.spin_once(self, timeout_sec=0.1)

    def is_node_up(self) -> bool:
        """Whether the node listens to queries."""
        return self._query.get_subscription_count() > 0

    def publish_query(self, prompts: str) -> None:
        """Ask, and do not wait."""
        self._query.publish(String(data=prompts))

    def ask(self, prompts: str, min_purifications: int) -> Reply:
        """Publish a query and wait for its answer after so many purifications."""
        self.publish_query(prompts)
        names = [name.strip() for name in prompts.split(",")]

        def is_answered() -> bool:
            result = self.newest.get("query_result")
            return (
                result is not None
                and [r.prompt for r in result.results] == names
                and result.num_purifications >= min_purifications
                and self._clouds_belong_to(result)
            )

        self.wait(f"the answer to '{prompts}'", is_answered, _STEP_S)
        return Reply(
            self.newest["query_result"],
            _points(self.newest["labeled_cloud"]),
            _points(self.newest["raw_labeled_cloud"]),
        )

    def _clouds_belong_to(self, result: QueryResult) -> bool:
        """Three topics keep no common order: the label counts tell which clouds were meant."""
        for topic, field in (("labeled_cloud", "num_voxels"),
                             ("raw_labeled_cloud", "num_voxels_raw")):
            cloud = self.newest.get(topic)
            if cloud is None or cloud.width != result.num_voxels:
                return False
            counts = np.bincount(read_points(cloud)["label"], minlength=len(result.results) + 1)
            if counts[1:].tolist() != [getattr(r, field) for r in result.results]:
                return False
        return True

    def purify(self) -> int:
        """Call the node's service and wait; returns how many purifications there were then."""
        self.wait("the service ~/purify", self._purify.service_is_ready, _STEP_S)
        future = self._purify.call_async(Trigger.Request())
        self.wait("the purification", future.done, _STEP_S)
        if not future.result().success:
            raise GeoPurifyError(future.result().message)
        self.status = {}  # the next report is younger than the purification
        self.wait("diagnostics", lambda: "purify.count" in self.status, _STEP_S)
        return int(self.status["purify.count"])

    def has_whole_map(self) -> bool:
        """Whether map_cloud is as new as the last answer."""
        cloud, result = self.newest.get("map_cloud"), self.newest.get("query_result")
        return cloud is not None and result is not None and cloud.width == result.num_voxels

    def is_drained(self, num_frames: int) -> bool:
        """Whether the node has seen all frames and each is fused or dropped."""
        frames = {k: int(v) for k, v in self.status.items() if k.startswith("frames.")}
        received = frames.pop("frames.received", 0)
        return received >= num_frames and sum(frames.values()) == received


def _process_age_s() -> float:
    """Seconds since this process was started, imports included."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    uptime_s = float(Path("/proc/uptime").read_text().split()[0])
    return uptime_s - ticks / os.sysconf("SC_CLK_TCK")


def _points(cloud: PointCloud2) -> LabeledPoints:
    points = read_points(cloud)
    names = points.dtype.names
    packed = points["rgb"].view(np.uint32)
    rgb = np.stack([(packed >> shift) & 255 for shift in (16, 8, 0)], axis=1).astype(np.uint8)
    xyz = np.stack([points[a] for a in "xyz"], axis=1)
    label = points["label"].astype(np.int64) if "label" in names else np.zeros(len(points), int)
    score = points["score"].copy() if "score" in names else np.zeros(len(points), np.float32)
    return LabeledPoints(xyz, rgb, label, score)


def run_demo(
    folder: Path, out: Path, rate_hz: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """Run node and player, query twice, write the results below `out`; returns the summary.

    Raises:
        GeoPurifyError: something did not come; the log of the node is beside the results.
    """
    sequence = Sequence(folder)
    if not sequence.has_labels:
        raise InputError(f"{folder} has no ground truth, the demo cannot judge its map")
    out.mkdir(parents=True, exist_ok=True)
    environment = isolated_environment()
    os.environ.update(environment)
    with ros_session():
        client = DemoClient()
        replies = _converse(client, sequence, out, rate_hz, say)
    summary = _summary(client, replies[0], replies[1], sequence)
    plain = _points(client.newest["map_cloud"])
    for stem, reply in zip(("labels", "all_names"), replies, strict=True):
        prompts = tuple(r.prompt for r in reply.result.results)
        write_ply(out / f"{stem}.ply", reply.labeled, prompts)
        picture = out / f"{stem}.png"
        absent = frozenset(r.prompt for r in reply.result.results if not r.found)
        write_picture(picture, sequence, plain, reply.raw, reply.labeled, prompts, absent)
    write_report(out / "summary.json", summary, indent=2)
    _last_lines(summary, out, say)
    return summary


def _converse(
    client: DemoClient, sequence: Sequence, out: Path, rate_hz: float, say: Callable[[str], None]
) -> tuple[Reply, Reply]:
    """Start both processes, play, purify, ask for some names and then for all; end them."""
    node = player = None
    with (out / "node.log").open("w") as log:
        try:
            say(f"starting the node (its log: {log.name})")
            node = start(["run", "--namespace", NAMESPACE], log)
            client.wait("the node", lambda: is_alive(node, out) and client.is_node_up(), _START_S)
            say(f"playing {len(sequence)} frames at {rate_hz:g} Hz")
            play = ["play", str(sequence.folder), "--rate", str(rate_hz)]
            player = start([*play, "--namespace", NAMESPACE])
            client.ask(FIRST_QUERY, 0)  # answered at once, while the map grows
            play_s = _START_S + len(sequence) / rate_hz
            client.wait("the end of the player", lambda: player.poll() is not None, play_s)
            client.wait("the last frame", lambda: client.is_drained(len(sequence)), _STEP_S)
            purifications = client.purify()
            first = client.ask(FIRST_QUERY, purifications)
            every_name = client.ask(", ".join(sequence.class_names.values()), purifications)
            client.wait("the map cloud", client.has_whole_map, _STEP_S)
            return first, every_name
        finally:
            for process in (player, node):
                stop(process)


def _summary(
    client: DemoClient, first: Reply, every_name: Reply, sequence: Sequence
) -> dict[str, Any]:
    frames = {k[7:]: int(v) for k, v in client.status.items() if k.startswith("frames.")}
    voxel_size_m = Config().map.voxel_size_m
    return {
        "frames_in": frames["received"],
        "fused": frames["fused"],
        "dropped": {k[8:]: n for k, n in frames.items() if k.startswith("dropped.")},
        "voxels": every_name.result.num_voxels,
        "purifications": every_name.result.num_purifications,
        "changed_fraction": round(every_name.result.changed_fraction, 4),
        "seconds_to_first_fused_frame": round(client.first_fused_s or float("nan"), 2),
        "ms_per_stage": {k[10:]: float(v) for k, v in client.status.items()
                         if k.startswith("median_ms.")},
        "raw": cloud_scores(every_name.raw, sequence, voxel_size_m),
        "purified": cloud_scores(every_name.labeled, sequence, voxel_size_m),
        "query": [_told(r) for r in first.result.results],
    }


def _told(one: PromptResult) -> dict[str, Any]:
    best, low, high = (
        [round(getattr(point, axis), 4) for axis in "xyz"]
        for point in (one.best_position, one.box_min, one.box_max)
    )
    return {
        "prompt": one.prompt, "found": one.found, "score": round(one.score, 3),
        "num_voxels": one.num_voxels, "num_pieces": one.num_pieces, "best_position_m": best,
        "box_m": [low, high] if one.found else None, "otherwise": one.otherwise,
        "nearest": one.nearest, "nearest_score": round(one.nearest_score, 3),
    }  # fmt: skip


def _last_lines(summary: dict[str, Any], out: Path, say: Callable[[str], None]) -> None:
    found = [f"{q['prompt']} ({q['num_voxels']} voxels, score {q['score']:.2f})"
             for q in summary["query"] if q["found"]]
    counts = "frames in {frames_in}, fused {fused}, dropped {dropped}; {voxels} voxels"
    say(counts.format(**summary))
    say(f"mIoU of the received clouds over all class names: raw {summary['raw']['miou']:.3f}, "
        f"purified {summary['purified']['miou']:.3f}")
    say(f"found: {', '.join(found) or 'nothing'}")
    for q in summary["query"]:
        if not q["found"]:
            near = "; nearest: {nearest} {nearest_score:.2f}" if q["nearest"] else ""
            say(("no {prompt}" + near).format(**q))
    say(f"look at {out / 'labels.png'} and {out / 'all_names.png'}, open {out / 'labels.ply'}; "
        f"figures in {out / 'summary.json'}")
    say("the same on a ROS 2 machine:")
    say("  ros2 launch geopurify_ros mapping.launch.py rviz:=true")
    say("  ros2 run geopurify_ros geopurify play")
    say("  ros2 topic pub --once /geopurify/query std_msgs/msg/String \"{data: 'sofa, piano'}\"")
