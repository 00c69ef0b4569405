"""Starting and ending the node as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from rclpy.executors import ExternalShutdownException

from geopurify_ros.ros.report import FrameCounts
from geopurify_ros.ros.shutdown_signals import Interrupts

pytestmark = pytest.mark.slow

RUN = [sys.executable, "-m", "geopurify_ros.cli", "run"]


def start(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen([*RUN, *arguments], env=dict(os.environ), text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.parametrize("said_first", ["loading encoder", "mapping: images on"])
@pytest.mark.parametrize("after_s", [0.0, 0.4, 0.8, 1.2])
def test_interrupt_ends_the_node_with_exit_code_0(said_first, after_s):
    """Ctrl-C while it loads, wherever that hits, and while it runs."""
    node = start()
    said = ""
    while said_first not in said:
        line = node.stdout.readline()
        assert line, said
        said += line
    time.sleep(after_s)
    node.send_signal(signal.SIGINT)
    said += node.communicate(timeout=60)[0]
    assert "Traceback" not in said, said
    assert node.returncode == 0, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_either_signal_ends_the_node_and_the_last_line_of_json_counts_the_frames(number):
    node = subprocess.Popen([*RUN, "--json"], env=dict(os.environ), text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while "mapping: images on" not in (line := node.stderr.readline()):
        assert line
    node.send_signal(number)
    out, err = node.communicate(timeout=60)
    assert node.returncode == 0, err
    assert json.loads(out.splitlines()[-1]) == {"received": 0, "fused": 0}, err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--ros-args", "-p", "depth.min_m:=9.0"], "depth.min_m"),
        (["--ros-args", "-p", "map.voxel_size_m:=thick"], "map.voxel_size_m"),
        (["--ros-args", "-p", "pose.source:=magic"], "tf, pose, odom"),
        (["--ros-args", "-p", "query.initial:=,"], "query.initial"),
        (["--ros-args", "-p", "encoder.name:=clip"], "no encoder 'clip'"),
        (["--ros-args", "-p", "encoder.device:=cuda:9"], "cuda:9"),
        (["--ros-args", "-p", "encoder.dtype:=int8"], "auto, float32, bfloat16, float16"),
        (["--ros-args", "--params-file", "/nowhere.yaml"], "refused"),
        (["--set", "depth.max_m=far"], "depth.max_m"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_exit_code_2(arguments, part):
    node = start(*arguments)
    said, _ = node.communicate(timeout=60)
    assert node.returncode == 2, said
    assert "Traceback" not in said
    assert part in said


def test_an_int_will_do_for_a_float_parameter():
    node = start("--ros-args", "-p", "depth.max_m:=4", "-p", "encoder.name:=nothing")
    said, _ = node.communicate(timeout=60)
    assert "no encoder 'nothing'" in said, "4 is accepted, only the encoder is not"


def test_a_callback_that_raises_is_told_and_ends_nothing(monkeypatch):
    from geopurify_ros.ros import main

    said, steps = [], iter([RuntimeError("never thought of"), None, ExternalShutdownException()])

    class Executor:
        def spin_once(self, timeout_sec):
            step = next(steps)
            if step is not None:
                raise step

    class Node:
        loading = None

        def get_logger(self):
            return SimpleNamespace(error=said.append)

    monkeypatch.setattr(main.rclpy, "ok", lambda: True)
    main._spin(Executor(), Node(), Interrupts())
    assert next(steps, "all served") == "all served"
    (sentence,) = said
    assert "the node goes on" in sentence
    assert "never thought of" in sentence


def test_a_second_interrupt_while_closing_still_counts_the_frames(monkeypatch):
    from geopurify_ros.ros import main

    class Node:
        counts = FrameCounts()

        def close(self):
            os.kill(os.getpid(), signal.SIGINT)

    def serve(_arguments, _defaults, nodes, interrupts):
        nodes.append(Node())
        interrupts.is_noting = True
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.is_asked
        return 0

    told, left = [], []
    monkeypatch.setattr(main, "_serve", serve)
    monkeypatch.setattr(main, "_leave", lambda: left.append(True))
    assert main.run_node([], None, told.append) == 0
    assert told == [FrameCounts().snapshot()]
    assert left == [True]
