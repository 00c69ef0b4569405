"""`geopurify bench`: which cases, where, and what it prints; the cases have tests of their own."""

import json
import sys

import pytest
import torch
from command_line import last_json, refusal, run

from geopurify_ros.errors import ConfigError
from geopurify_ros.evaluate.bench import runner

REAL_CASES = tuple(runner.CASES)


@pytest.fixture(autouse=True)
def _cheap(monkeypatch):
    """Two cases that measure nothing."""
    def made(setup):
        return {"median_ms": 2.0, "spread_ms": 1.0, "ratio": 3.0, "peer": "plain code",
                "peer_ms": 6.0, "equal": True, "growth_exponent": 0.5,
                "seconds": {1000: 0.1}, "quick": setup.is_quick}

    def alone(setup):
        return made(setup) | {"ratio": None, "peer": None, "peer_ms": None, "equal": None}

    monkeypatch.setattr(runner, "CASES", {"first": made, "second": alone})
    monkeypatch.setattr(runner, "copy_bandwidth", lambda *_: 1e9)
    monkeypatch.setattr(runner, "bytes_per_voxel", lambda _: 1138.0)


def test_the_last_line_is_one_object_and_only_some_are_measured():
    said = last_json("bench", "--quick", "--only", "second", "first")
    assert list(said["cases"]) == ["first", "second"]
    assert said["cases"]["first"]["quick"] is True
    assert said["threads"] == torch.get_num_threads()
    assert said["measured"] == "processor time of the process"
    assert {"machine", "copy_gb_per_s", "map_bytes_per_voxel", "device"} <= said.keys()
    assert list(last_json("bench", "--only", "first")["cases"]) == ["first"]


def test_with_json_nothing_else_is_on_stdout_and_without_it_a_table():
    code, out, err = run("bench", "--only", "first", "--json")
    assert code == 0
    assert json.loads(out)["cases"]
    assert "x3.0 against plain code (6 ms), equal: True" in err
    code, out, _ = run("bench", "--only", "second")
    assert code == 0
    assert f"{torch.get_num_threads()} threads" in out
    assert "1,000: 0.1" in out
    assert "against" not in out


def test_cases_and_devices_that_are_not_there_are_one_sentence(monkeypatch):
    assert "there is no case 'thrid': choose of first, second" in refusal(
        "bench", "--only", "first", "thrid")
    code, out, err = run("bench", "--device", "abacus")
    assert (code, out, err.count("\n")) == (2, "", 1)

    def refused(name):
        raise ConfigError(f"{name}?")

    monkeypatch.setattr(runner, "pick_device", refused)
    assert "the device 'cuda' cannot be used here" in refusal("bench", "--device", "cuda")


def test_without_ros_packing_is_left_out_unless_it_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "geopurify_ros.ros.tools.bench_clouds", None)
    code, out, _ = run("bench")
    assert code == 0
    assert "packing clouds is left out, it needs ROS 2" in out
    code, _, err = run("bench", "--only", "pack_cloud")
    assert code == 2
    assert "needs ROS 2" in err



def test_the_cases_keep_their_names():
    assert REAL_CASES == (
        "encode", "feature_mean_update", "fuse_frame", "neighbour_graph", "text_pooling",
        "purify_full", "purify_incremental", "query", "keyframe_e2e")
