"""The worker alone, without a graph: what it must not lose, and what it must not claim."""

from __future__ import annotations

import threading

import pytest
import torch
from box_room import ASKED, frame_at
from lone_worker import BrokenCard, wait

from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.errors import GeoPurifyError, InputError
from geopurify_ros.ros import device_loss


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


def test_raw_labels_are_made_once_somebody_looks_at_them(worker, monkeypatch):
    heard, wishes, query = [], [], worker.pipeline.query
    monkeypatch.setattr(worker.pipeline, "query", lambda asked, with_raw: (
        wishes.append(with_raw), query(asked, with_raw))[1])
    worker._listener.wants_raw = False
    worker._listener.answered = lambda _pipeline, _asked, answer, _stamp: heard.append(answer)
    worker.set_query(ASKED)
    wait(lambda: heard, "the answer")
    worker.request_map()
    worker._listener.wants_raw = worker._listener.lacks_labels = True
    worker.request_map()
    wait(lambda: len(heard) == 2, "the answer with raw labels")
    assert wishes == [False, True]
