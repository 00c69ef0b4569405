"""`geopurify play BAG`: what was recorded reaches the node as from a camera."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from bag_writer import write_bag
from ros_harness import Harness

from geopurify_ros.cli.options import sample_room
from geopurify_ros.ros.tools.private_domain import isolated_environment

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "geopurify_ros.cli", "play"]


@pytest.mark.parametrize(("storage", "compressed"), [("sqlite3", False), ("mcap", True)])
def test_a_played_bag_is_mapped(tmp_path, storage, compressed):
    bag = write_bag(tmp_path / "bag", sample_room(), range(0, 20, 4), storage,
                    compressed=compressed)
    transport = "compressed" if compressed else "raw"
    harness = Harness(**{"camera.rgb_transport": transport, "camera.depth_transport": transport,
                         "keyframe.min_translation_m": 0.0, "pose.timeout_s": 2.0})
    try:
        for publisher in (harness.camera.rgb, harness.camera.depth, harness.camera.info):
            harness.camera.destroy_publisher(publisher)
        environment = {**isolated_environment(), "ROS_DOMAIN_ID": str(harness.domain)}
        done = subprocess.run(
            [*COMMAND, str(bag), "--speed", "0.2", "--clock", "--json"], env=environment,
            capture_output=True, text=True, check=True)
        assert json.loads(done.stdout.splitlines()[-1]) == {"messages": 20}
        assert harness.settle(5)["fused"] >= 3
        assert len(harness.node.worker.pipeline.map) > 500
    finally:
        harness.close()


def test_a_bag_that_cannot_be_played_is_one_sentence(tmp_path):
    path = tmp_path / "broken.mcap"
    path.write_bytes(b"nothing")
    done = subprocess.run([*COMMAND, str(path)], env=isolated_environment(), capture_output=True,
                          text=True)
    assert done.returncode == 2
    assert "cannot be read as a rosbag2" in done.stderr
    assert "Traceback" not in done.stderr
