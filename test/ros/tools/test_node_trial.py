"""How the node keeps up is measured through the real node."""

import pytest

from geopurify_ros.cli.options import sample_room
from geopurify_ros.ros.tools import node_trial as trial_module
from geopurify_ros.ros.tools.node_trial import node_trial


@pytest.mark.slow
def test_frames_clouds_and_memory_are_counted(monkeypatch):
    monkeypatch.setattr(trial_module, "_DRAIN_S", 2.0)
    for name in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE"):
        monkeypatch.setenv(name, "0")  # set back afterwards
        monkeypatch.delenv(name)
    found = node_trial(sample_room(), copies=1, num_frames=6, rate_hz=3.0)
    frames = found["frames"]
    assert found["voxels"] > 30_000
    assert frames["received"] == found["played"] == 6
    assert sum(n for name, n in frames.items() if name != "received") == 6
    assert found["fused_share"] == frames["fused"] / 6
    assert found["clouds"] > 0
    assert min(found["resident_mb"]) > 100
