"""The worker alone, without a graph: what it must not lose, and what it must not claim."""

from __future__ import annotations

import threading
import time

import pytest
from test_core_edits import frame_at, pipeline_of

from geopurify_ros.core.keyframe import KeyframeGate
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.errors import InputError
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
