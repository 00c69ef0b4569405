"""Saving a heavy map: mapping goes on meanwhile, and kill -9 leaves the old map or the new one."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from ros_harness import Harness, running
from saving_node import WideEncoder, fill

from geopurify_ros.data.map_file import load_map
from geopurify_ros.ros.tools.private_domain import give_back, take_domain
from geopurify_ros.srv import MapFile

pytestmark = pytest.mark.slow

NUM_VOXELS = 40_000  # 43 MB


def ask(harness, service, name):
    return harness.call(MapFile, service, MapFile.Request(file_path=name))


def test_a_map_is_saved_by_name_and_never_over_another_file(tmp_path):
    with running(**{"map.folder": str(tmp_path / "maps")}) as other:
        other.fuse()
        assert ask(other, "save_map", "floor/kitchen").success
        assert (tmp_path / "maps/floor/kitchen.safetensors").is_file()
        assert ask(other, "load_map", "floor/kitchen").success
        (tmp_path / "maps/thesis.tex").write_text("precious")
        response = ask(other, "save_map", "thesis.tex")
        assert not response.success
        assert "is left as it is" in response.message
        assert (tmp_path / "maps/thesis.tex").read_text() == "precious"
        assert "is damaged or no geopurify map" in ask(other, "load_map", "thesis.tex").message
        other.assert_alive()


def test_saving_a_large_map_holds_mapping_up_for_less_than_100_ms(tmp_path):
    """100,000 voxels of 512 numbers: how long mapping stands still while the file is written.

    A frame comes every 20 ms. What counts is the longest time between two of them in the map,
    beyond the usual one, in the best of the saves: other programs may hold up any of them, and
    what saving itself holds up is held up in all. So does the worker's own processor time.
    """
    harness = Harness(WideEncoder())
    try:
        pipeline = harness.node.worker.pipeline
        fill(pipeline.map, 100_000)
        ends: list[float] = []
        own_s: list[float] = []
        for owner, name in ((pipeline, "integrate"), (pipeline.map, "snapshot")):
            setattr(owner, name, timed(getattr(owner, name), ends, own_s))
        send_until(harness, lambda: len(ends) > 20)
        usual_ms, quiet_s = 1e3 * max(gaps(ends)), sorted(own_s)[len(own_s) // 2]
        client = harness.camera.create_client(MapFile, "mapping/save_map")
        harness.wait(client.service_is_ready, "the service")
        still_ms, own_ms, saves_ms = [], [], []
        for number in range(5):
            ends.clear()
            own_s.clear()
            path = tmp_path / f"{number % 2}.safetensors"
            started = time.perf_counter()
            future = client.call_async(MapFile.Request(file_path=str(path)))
            send_until(harness, future.done)
            saves_ms.append(1e3 * (time.perf_counter() - started))
            assert future.result().success, future.result().message
            assert len(ends) > 2, "frames were fused while the file was written"
            still_ms.append(1e3 * max(gaps([started, *ends])) - usual_ms)
            own_ms.append(1e3 * (max(own_s) - quiet_s))
        print(f"\nsaving {path.stat().st_size / 1e6:.0f} MB takes {min(saves_ms):.0f} ms; mapping "
              f"stands still for {[round(ms) for ms in still_ms]} ms longer than without (at most "
              f"{usual_ms:.0f} ms), of which its own work is {max(own_ms):.0f} ms")
        assert min(still_ms) < 100
        assert min(own_ms) < 100
    finally:
        harness.close()


def send_until(harness: Harness, is_done) -> None:
    while not is_done():
        harness.camera.send()
        time.sleep(0.02)


def gaps(moments: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(moments)]


def timed(function, ends: list[float], own_s: list[float]):
    """`function`, which notes when each call ended and its thread's processor time."""
    def call(*arguments):
        before_s = time.thread_time()
        try:
            return function(*arguments)
        finally:
            own_s.append(time.thread_time() - before_s)
            ends.append(time.perf_counter())

    return call


class Saver:
    """Starts nodes and asks them to save; every node has one voxel more than the one before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_voxels = NUM_VOXELS
        self.context = Context()
        domain = self.domain = take_domain()
        rclpy.init(args=[], context=self.context, domain_id=domain)
        self.node = Node("saver", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.environment = {**os.environ, "ROS_DOMAIN_ID": str(domain)}

    def start(self):
        """A node with a heavy map, ready to save: process and client."""
        self.num_voxels += 1
        program = Path(__file__).parents[2] / "helpers" / "saving_node.py"
        process = subprocess.Popen(
            [sys.executable, str(program), str(self.num_voxels)], env=self.environment,
            stderr=subprocess.DEVNULL)
        # a name of its own: DDS remembers the killed ones for a while, and would ask them
        service = f"/room_{self.num_voxels}/mapping/save_map"
        client = self.node.create_client(MapFile, service)
        deadline = time.monotonic() + 240
        while not client.service_is_ready():
            assert process.poll() is None
            assert time.monotonic() < deadline, "the node did not come up"
            self.executor.spin_once(timeout_sec=0.05)
        return process, client

    def request(self, client):
        return client.call_async(MapFile.Request(file_path=str(self.path)))

    def finish(self, future) -> None:
        deadline = time.monotonic() + 120
        while not future.done():
            assert time.monotonic() < deadline, "no answer of save_map"
            self.executor.spin_once(timeout_sec=0.02)
        assert future.result().success, future.result().message

    def close(self) -> None:
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)
        give_back(self.domain)


def test_kill_9_while_saving_leaves_the_old_or_the_new_map(tmp_path, pytestconfig):
    """At random moments of the save; --kills says how many."""
    generator = random.Random(5)
    saver = Saver(tmp_path / "room.safetensors")
    found: Counter[str] = Counter()
    try:
        process, client = saver.start()
        started = time.monotonic()
        saver.finish(saver.request(client))
        duration_s = time.monotonic() - started
        process.kill()
        process.wait()
        known = saver.num_voxels
        for _ in range(pytestconfig.getoption("kills")):
            process, client = saver.start()
            future = saver.request(client)
            until = time.monotonic() + generator.uniform(0, 1.2 * duration_s)
            while time.monotonic() < until:
                saver.executor.spin_once(timeout_sec=0.002)
            process.kill()
            process.wait()
            saver.node.destroy_client(client)
            voxels, header = load_map(saver.path)  # refuses anything but a whole map
            assert len(voxels) == header.num_voxels
            assert header.num_voxels in (known, saver.num_voxels), "a map nobody saved"
            parts = [p for p in tmp_path.iterdir() if p != saver.path]
            written = "written" if future.done() else "being written" if parts else "not begun"
            which = "new" if header.num_voxels == saver.num_voxels else "old"
            found[f"{which} map, {written}"] += 1
            known = header.num_voxels
        process, client = saver.start()
        saver.finish(saver.request(client))
        process.kill()
        process.wait()
        assert [p.name for p in tmp_path.iterdir()] == [saver.path.name], "leftovers are removed"
    finally:
        saver.close()
    print(f"\n{sum(found.values())} kills, a save takes {1e3 * duration_s:.0f} ms: {dict(found)}")
