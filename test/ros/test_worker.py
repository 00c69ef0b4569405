"""The worker alone, without a graph: what it must not lose, and what it must not claim."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from box_room import frame_at, pipeline_of

from geopurify_ros.core.mapping.keyframe import KeyframeGate
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.errors import GeoPurifyError, InputError
from geopurify_ros.ros import device_loss
from geopurify_ros.ros.report import FrameCounts, Reporter
from geopurify_ros.ros.worker import MappingWorker


class Log(list):
    """Warnings as a list."""

    warning = list.append


class Listener:
    def map_changed(self, *_arguments):
        pass

    answered = cleared = map_changed


@pytest.fixture
def worker():
    pipeline, log = pipeline_of("mean", num_frames=1), Log()
    made = MappingWorker(pipeline, KeyframeGate(pipeline.config.keyframe), FrameCounts(),
                         Reporter(log), Listener())
    made.log = log
    made.start()
    yield made
    made.stop()


def wait(condition, what):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)


def test_a_map_is_replaced_however_many_questions_wait(worker):
    go_on, answers = threading.Event(), []
    worker.call("query", lambda: go_on.wait(20), answers.append)
    wait(lambda: not worker._jobs, "the first job")
    taken = [worker.call("query", lambda: 0, answers.append) for _ in range(40)]
    assert taken == [True] * 32 + [False] * 8
    worker.replace_map(Pipeline.reset, 0, answers.append)
    go_on.set()
    wait(lambda: len(answers) == 34, "all answers")
    assert answers[-1] is None
    assert len(worker.pipeline.map) == 0


def test_replacing_the_map_of_a_worker_that_ends_tells_so(worker):
    go_on, answers = threading.Event(), []
    worker.call("query", lambda: go_on.wait(20), answers.append)
    wait(lambda: not worker._jobs, "the first job")
    worker.replace_map(Pipeline.reset, 0, answers.append)
    ending = threading.Thread(target=worker.stop)
    ending.start()
    wait(lambda: worker._stopping, "the end")
    go_on.set()
    ending.join(20)
    worker.replace_map(Pipeline.reset, 0, answers.append)
    assert [type(answer) for answer in answers] == [bool, InputError, InputError]
    assert len(worker.pipeline.map) > 0


def test_a_map_that_could_not_be_published_is_published_later(worker):
    failures = [RuntimeError("no network")]

    def map_changed(*_arguments):
        if failures:
            raise failures.pop()
        published.append(True)

    published = []
    worker._listener.map_changed = map_changed
    worker.submit_frame(lambda: frame_at(1.0))
    wait(lambda: worker._map_is_new, "the frame")
    worker.request_map()
    wait(lambda: not failures and "map" in worker.failing, "the failure")
    worker.request_map()
    wait(lambda: published, "the map")


class BrokenCard:
    """A device whose every operation raises, as all do after a sticky CUDA error."""

    type = "cuda"

    def __str__(self):
        return "cuda:0"


def test_after_a_sticky_error_nobody_is_told_that_the_map_is_kept(worker, monkeypatch):
    def broken(*_arguments, **_names):
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel "
                           "errors might be asynchronously reported")

    monkeypatch.setattr(device_loss.torch, "ones", broken)
    worker.pipeline.device = BrokenCard()
    worker.pipeline.integrate = broken
    answers = []
    worker.submit_frame(lambda: frame_at(1.0))
    wait(lambda: worker.lost_device, "the loss")
    worker.submit_frame(lambda: frame_at(2.0))
    worker.request_purify(answers.append)
    worker.call("save", lambda: worker.pipeline.lifted.snapshot(), answers.append)
    wait(lambda: len(answers) == 2, "the answers")
    wait(lambda: worker._counts.snapshot().get("dropped.device_lost") == 2, "both frames")
    assert "cuda:0 does not compute any more (CUDA error: an illegal memory access" in (
        worker.lost_device)
    assert worker.lost_device.endswith("the map on it is lost, restart the node")
    assert all(str(answer) == worker.lost_device for answer in answers)
    assert all(type(answer) is GeoPurifyError for answer in answers)
    assert not any("the map is kept" in line for line in worker.log)
    assert sum("restart the node" in line for line in worker.log) == 1
    assert worker.failing == {}


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory"), None,
])
def test_want_of_memory_is_no_loss_of_the_device(worker, monkeypatch, error):
    def full(*_arguments, **_names):
        raise error or RuntimeError("a bug of ours")

    if error:
        monkeypatch.setattr(device_loss.torch, "ones", full)
    monkeypatch.setattr(worker.pipeline, "integrate", full)
    if error:
        worker.pipeline.device = BrokenCard()
    worker.submit_frame(lambda: frame_at(1.0))
    wait(lambda: "frame" in worker.failing, "the failure")
    assert worker.lost_device == ""
    assert "the map is kept" in worker.log[-1]


def test_frames_have_their_turn_where_purifying_takes_longer_than_its_period(worker):
    """Else one frame would be fused per purification, and a second of images take minutes."""
    order, pipeline = [], worker.pipeline
    real_purify, real_integrate = pipeline.purify, pipeline.integrate

    def purify():
        order.append("purify")
        worker.request_purify()  # its period is over before it ends
        return real_purify()

    def integrate(frame):
        order.append("frame")
        worker._purify_is_due = True
        return real_integrate(frame)

    pipeline.purify, pipeline.integrate = purify, integrate
    go_on = threading.Event()
    worker.call("query", lambda: go_on.wait(20), lambda _: None)
    wait(lambda: not worker._jobs, "the first job")
    worker._purify_is_due = True
    worker.request_purify()
    for k in range(8):
        worker.submit_frame(lambda k=k: frame_at(float(k)))
    go_on.set()
    wait(lambda: order.count("frame") == 8, "all frames")
    assert order.count("purify") <= 3, order
    wait(lambda: order[-1] == "purify", "a purification at the end")
