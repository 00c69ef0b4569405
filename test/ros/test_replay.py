"""Recorded frames through the real node in a process of its own, over real DDS."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rclpy

from geopurify_ros.ros.outputs.point_cloud2 import read_points
from geopurify_ros.ros.tools.demo import DemoClient

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "geopurify_ros/assets/sample_room"
KINECT = ROOT.parent / "shared/data/sevenscenes_tsdf"
COMMAND = [sys.executable, "-m", "geopurify_ros.cli"]
PROMPTS = ["chair", "table", "floor"]


def part_of(sequence: Path, folder: Path, num_frames: int) -> Path:
    """A sequence of every n-th frame, with all that belongs to it."""
    names = sorted(p.stem for p in (sequence / "pose").iterdir())
    for name in names[:: max(1, len(names) // num_frames)][:num_frames]:
        for part in ("color", "depth", "pose"):
            (folder / part).mkdir(parents=True, exist_ok=True)
            source = next((sequence / part).glob(f"{name}.*"))
            shutil.copy(source, folder / part / source.name)
    shutil.copytree(sequence / "intrinsic", folder / "intrinsic")
    return folder


@pytest.mark.parametrize(
    "sequence",
    [
        pytest.param(SAMPLE, id="sample room"),
        pytest.param(KINECT, id="real Kinect", marks=[
            pytest.mark.shared,
            pytest.mark.skipif(not KINECT.is_dir(), reason="../shared/data is not here; the "
                               "sample room is its twin"),
        ]),
    ],
)
def test_replayed_frames_become_a_labelled_cloud(sequence, tmp_path):
    played = part_of(sequence, tmp_path / "part", 12)
    environment = dict(os.environ)  # the domain that conftest took: the client is in it
    rclpy.init(args=[])
    node = subprocess.Popen([*COMMAND, "run", "--set", "purify.period_s=0"], env=environment)
    try:
        client = DemoClient()
        client.wait("the node", client.is_node_up, 120)
        play = subprocess.run(
            [*COMMAND, "play", str(played), "--rate", "3", "--json"],
            env=environment, check=True, capture_output=True, text=True,
        )
        assert json.loads(play.stdout.splitlines()[-1]) == {"frames": 12}
        client.wait("all frames", lambda: client.is_drained(12), 60)
        client.purify()
        reply = client.ask(", ".join(PROMPTS), 1)
        cloud = client.newest["labeled_cloud"]
    finally:
        node.send_signal(2)
        assert node.wait(timeout=30) == 0, "SIGINT ends the node with exit code 0"
        rclpy.try_shutdown()

    assert int(client.status["frames.fused"]) >= 6
    assert [f.name for f in cloud.fields] == ["x", "y", "z", "rgb", "label", "score"]
    assert cloud.header.frame_id == "map"
    assert cloud.header.stamp == reply.result.header.stamp
    assert cloud.header.stamp.sec > 0
    points = read_points(cloud)
    assert len(points) == cloud.width == reply.result.num_voxels > 1000
    for name in ("x", "y", "z", "score"):
        assert np.isfinite(points[name]).all()
    assert set(np.unique(points["label"])) <= set(range(len(PROMPTS) + 1))
    assert (points["label"] > 0).any()
    assert [r.prompt for r in reply.result.results] == PROMPTS
    assert (reply.labeled.label != reply.raw.label).any(), "purification changed labels"


def test_demo_in_a_small_shared_memory(tmp_path):
    """The whole demo with a /dev/shm of 64 MB, as containers have it, in its own mount space."""
    probe = ["unshare", "--mount", "--map-root-user", "true"]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("this machine lets us make no mount namespace, /dev/shm cannot be shrunk")
    demo = " ".join([*COMMAND, "demo", "--json", "--out", str(tmp_path)])
    shell = f"mount -t tmpfs -o size=64m tmpfs /dev/shm && exec {demo}"
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", shell],
        capture_output=True, text=True, env=dict(os.environ), timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    summary = json.loads(done.stdout.splitlines()[-1])
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written == {**summary, "written_by": "geopurify"}
    assert summary["frames_in"] == 40
    assert summary["frames_in"] == summary["fused"] + sum(summary["dropped"].values())
    assert summary["purified"]["miou"] > summary["raw"]["miou"] > 0.05
    fridge = summary["query"][-1]
    assert (fridge["prompt"], fridge["found"], fridge["num_voxels"]) == ("refrigerator", False, 0)
    assert f"no refrigerator; nearest: {fridge['nearest']}" in done.stderr
    for one in summary["query"][:-1]:
        assert one["found"], one
        for low, at, high in zip(one["box_m"][0], one["best_position_m"], one["box_m"][1],
                                 strict=True):
            assert low < at < high
    for name in ("labels.ply", "labels.png", "all_names.ply", "all_names.png", "node.log"):
        assert (tmp_path / name).stat().st_size > 0
