"""Between the start of the process and the first image: weights, parameters, names, signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import rclpy
from lifecycle_msgs.srv import GetState
from rclpy.context import Context
from rclpy.node import Node
from ros_harness import ColorEncoder, running

from geopurify_ros.config import Config, with_values
from geopurify_ros.config_file import matches_node
from geopurify_ros.errors import CheckpointError
from geopurify_ros.ros import main, model_loading
from geopurify_ros.ros.inputs.subscription import full_names
from geopurify_ros.ros.node import MappingNode
from geopurify_ros.ros.shutdown_signals import Interrupts
from geopurify_ros.ros.tools.private_domain import give_back, take_domain

pytestmark = pytest.mark.slow

RUN = [sys.executable, "-m", "geopurify_ros.cli", "run"]
NAME = "/geopurify/mapping"


@pytest.fixture
def looker():
    """A node of another context, in a domain of its own: it sees what a user sees."""
    domain, context = take_domain(), Context()
    rclpy.init(args=[], context=context, domain_id=domain)
    node = Node("looker", context=context)
    node.environment = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)
    give_back(domain)


def until(condition, what, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.02)


def start(looker, *arguments):
    return subprocess.Popen([*RUN, *arguments], env=looker.environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def read_until(process, words):
    said = ""
    while words not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    return said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_that_ends_is_gone_from_the_graph_at_once(looker, number):
    """DDS would keep one that does not say goodbye for twenty seconds."""
    node = start(looker)
    read_until(node, "mapping: images on")
    until(lambda: NAME in full_names(looker), "the node")
    node.send_signal(number)
    assert node.wait(timeout=60) == 0
    until(lambda: NAME not in full_names(looker), "the goodbye", timeout_s=5.0)


def catches_sigterm(process):
    """Whether the program has taken the signals: Python by itself leaves SIGTERM alone."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = int(re.search(r"SigCgt:\s*(\w+)", status).group(1), 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after_s", [0.0, 0.3, 0.6])
def test_an_interrupt_during_the_imports_ends_quietly(looker, after_s, number):
    node = start(looker)
    until(lambda: catches_sigterm(node), "the first lines")
    time.sleep(after_s)
    node.send_signal(number)
    said, _ = node.communicate(timeout=60)
    assert node.returncode == 0, said
    assert "Traceback" not in said


def test_what_nobody_reads_is_named(looker, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("mapping:\n  ros__parameters:\n    depth: {max_m: 3.0}\n")
    node = start(looker, "--ros-args", "--params-file", str(file), "-p", "depth.maxm:=3.0",
                 "-p", "qos_overrides./tf.subscription.depth:=10")
    said = read_until(node, "mapping: images on")
    node.send_signal(signal.SIGINT)
    node.communicate(timeout=60)
    assert "no parameter depth.maxm, it is ignored; the nearest are depth.max_m" in said
    assert f"{file} sets nothing for {NAME}: it names /mapping; use the key /** or {NAME}" in said
    assert said.count("WARN") == 2, said


@pytest.mark.parametrize(("section", "matches"), [
    ("/**", True), ("/geopurify/mapping", True), ("/geopurify/*", True), ("/*/mapping", True),
    ("/**/mapping", True), ("/geopurify/map*", True), ("/mapping", False), ("/*", False),
    ("/geopurify", False), ("/other/mapping", False), ("/geopurify/mapping_2", False),
])
def test_sections_of_a_parameter_file_are_for_nodes_as_ros_has_it(section, matches):
    assert matches_node(section, NAME) is matches




@pytest.fixture
def slow(monkeypatch, looker):
    """A node with autostart whose loading waits, spun by main; (node, go_on, problem, thread)."""
    go_on, problem = threading.Event(), []
    real = model_loading.load

    def wait_then_load(*arguments):
        assert go_on.wait(60)
        if problem:
            raise problem[0]
        return real(*arguments)

    monkeypatch.setattr(model_loading, "load", wait_then_load)
    context = Context()
    rclpy.init(args=[], context=context, domain_id=int(looker.environment["ROS_DOMAIN_ID"]))
    node = MappingNode(Config(), ColorEncoder(), namespace="geopurify", context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    monkeypatch.setattr(main.rclpy, "ok", lambda: context.ok())
    interrupts, ended = Interrupts(), []

    def spin():
        try:
            main._spin(executor, node, interrupts)
        except Exception as error:
            ended.append(error)

    node.begin_loading()
    thread = threading.Thread(target=spin)
    thread.start()
    yield node, go_on, problem, ended
    go_on.set()
    interrupts.is_asked = True
    thread.join()
    node.close()
    node.destroy_node()
    rclpy.shutdown(context=context)


def state_of(looker):
    client = looker.create_client(GetState, f"{NAME}/get_state")
    until(client.service_is_ready, "the service")
    future = client.call_async(GetState.Request())
    rclpy.spin_until_future_complete(
        looker, future, rclpy.executors.SingleThreadedExecutor(context=looker.context), 10.0)
    assert future.done(), "the node does not answer while it loads"
    return future.result().current_state.label


def test_the_node_answers_while_its_weights_are_read(slow, looker):
    node, go_on, _, ended = slow
    assert state_of(looker) == "unconfigured"
    go_on.set()
    until(lambda: node.is_active, "the start")
    assert state_of(looker) == "active"
    assert node.loading is None
    assert not ended


def test_a_parameter_set_meanwhile_counts(slow):
    node, go_on, _, _ = slow
    size = rclpy.parameter.Parameter("map.voxel_size_m", value=0.1)
    assert node.set_parameters([size])[0].successful, "it is read when the node is configured"
    go_on.set()
    until(lambda: node.is_active, "the start")
    assert node.worker.pipeline.map.voxel_size_m == 0.1
    assert not node.set_parameters([size])[0].successful


def test_weights_that_cannot_be_read_end_the_node_with_their_sentence(slow):
    _, go_on, problem, ended = slow
    problem.append(CheckpointError("the file is damaged"))
    go_on.set()
    until(lambda: bool(ended), "the end")
    assert str(ended[0]) == "the file is damaged"


def test_two_nodes_of_one_name_are_named_by_both_and_by_the_doctor():
    with running() as harness:
        twin = Node("mapping", namespace="geopurify", context=harness.camera_context)
        try:
            message = harness.wait_for_fault("inputs", "2 nodes have this name")
            assert "stop all but one" in message
            done = subprocess.run(
                [sys.executable, "-m", "geopurify_ros.cli", "doctor"], capture_output=True,
                text=True, env={**os.environ, "ROS_DOMAIN_ID": str(harness.domain)})
            assert done.returncode == 1
            assert "2 nodes have this name" in done.stdout
        finally:
            twin.destroy_node()


def test_a_config_that_changed_while_loading_is_loaded_again():
    class Logger:
        def info(self, _text):
            pass

    class Quiet:
        def create_publisher(self, *_):
            return None

        def destroy_publisher(self, _):
            pass

        def get_logger(self):
            return Logger()

    made = model_loading.Loading(Quiet(), Config(), ColorEncoder())
    assert made.fits(Config())
    assert made.fits(with_values(Config(), {"depth.max_m": 3.0}))
    assert not made.fits(with_values(Config(), {"encoder.name": "other"}))
    assert made.result().encoder.id == "test-color"
