"""Purification beside the worker: nobody waits for it, and nothing of a map before is used."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
import torch
from box_room import ASKED, frame_at, pipeline_of
from lone_worker import BrokenCard, wait

from geopurify_ros.core.pauses import UnwantedError
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.core.purification.job import PurifyJob
from geopurify_ros.errors import InputError
from geopurify_ros.ros import background, device_loss, purifier


class Held:
    """Purifications that wait at their end until they are let go; what they were asked."""

    def __init__(self, worker, monkeypatch):
        self.go_on, self.begun, self.ended = threading.Event(), [], []
        self.error = None
        real_run = PurifyJob.run

        def run(job, pause=lambda: None):
            self.begun.append(len(job.task.shot))
            is_unwanted = pause._is_unwanted.is_set
            with contextlib.suppress(UnwantedError):
                made = real_run(job, pause)
            while not (self.go_on.is_set() or is_unwanted()):
                time.sleep(0.002)
            self.ended.append(is_unwanted())
            if self.error is not None:
                raise self.error
            return made

        monkeypatch.setattr(PurifyJob, "run", run)
        worker.purifications.is_due = True


@pytest.fixture
def held(worker, monkeypatch):
    made = Held(worker, monkeypatch)
    yield made
    made.go_on.set()


def ask(worker, answers):
    worker.call("query", lambda: worker.pipeline.query(ASKED), answers.append)


def fused(worker):
    return worker._counts.snapshot()["fused"]


def test_frames_are_fused_and_queries_answered_while_a_purification_runs(worker, held):
    """However long it takes: it works on what the map was when it began."""
    known, answers, reports = len(worker.pipeline.map), [], []
    worker.request_purify(reports.append)
    wait(lambda: held.begun, "the purification")
    for k in range(8):
        worker.submit_frame(lambda k=k: frame_at(1.0 + k))
    wait(lambda: fused(worker) == 8, "all frames")
    ask(worker, answers)
    wait(lambda: answers, "the answer")
    assert worker.pipeline.result is None
    assert answers[0].pooled is answers[0].raw
    assert not reports
    assert len(worker.pipeline.map) > known
    held.go_on.set()
    wait(lambda: reports, "the report")
    assert reports[0].num_voxels == len(worker.pipeline.result) == known
    ask(worker, answers)
    wait(lambda: len(answers) == 2, "the second answer")
    assert len(answers[1].pooled.label) == len(worker.pipeline.map)
    assert worker.purifications.is_due  # frames have come since


def test_a_new_result_is_answered_with(worker, held):
    heard = []
    worker._listener.answered = lambda _pipeline, _asked, answer, _stamp: heard.append(answer)
    worker.set_query(ASKED)
    wait(lambda: heard, "the first answer")
    worker.request_purify()
    held.go_on.set()
    wait(lambda: len(heard) == 2, "the answer after it")
    assert heard[1].effect.entropy > 0


@pytest.mark.parametrize("grows", [False, True])
def test_who_asks_while_one_runs_gets_what_is_up_to_date(worker, held, grows):
    """The one that runs where the map is as it was, else another of the map as it is then."""
    reports = []
    worker.request_purify(reports.append)
    wait(lambda: held.begun, "the purification")
    if grows:
        worker.submit_frame(lambda: frame_at(1.0))
        wait(lambda: fused(worker) == 1, "the frame")
    for _ in range(3):
        worker.request_purify(reports.append)
    worker.request_purify()
    wait(lambda: worker.purifications.is_asked, "the request")
    assert len(held.begun) == 1
    held.go_on.set()
    wait(lambda: len(reports) == 4, "all reports")
    wait(lambda: not worker.purifications.purifier.is_busy, "the end")
    assert len(held.begun) == worker.pipeline.num_purifications == (2 if grows else 1)
    sizes = {report.num_voxels for report in reports[1:]}
    assert sizes == {len(worker.pipeline.map)}


def test_without_a_change_only_who_waits_for_it_has_the_map_purified_again(worker, held):
    held.go_on.set()
    reports, answers = [], []
    worker.request_purify()
    wait(lambda: worker.pipeline.num_purifications == 1, "the first")
    ask(worker, answers)
    wait(lambda: answers, "the end of taking it over")
    worker.request_purify()
    worker.request_purify(reports.append)
    wait(lambda: reports, "the second")
    assert (len(held.begun), reports[0].num_purifications) == (2, 2)


def test_a_result_that_belongs_to_the_map_before_is_never_used(worker, held):
    reports, answers = [], []
    worker.request_purify(reports.append)
    wait(lambda: held.begun, "the purification")
    other = pipeline_of("mean", num_frames=2).map
    worker.replace_map(lambda pipeline: pipeline.replace_map(other), 7, answers.append)
    wait(lambda: answers and reports, "both")
    assert answers == [None]
    assert str(reports[0]) == "the map was replaced while it was purified"
    wait(lambda: held.ended == [True], "the end of the old one")
    assert (worker.pipeline.result, worker.last_purify) == (None, None)
    assert worker.failing == {}
    held.go_on.set()
    worker.request_purify(reports.append)
    wait(lambda: len(reports) == 2, "the purification of the new map")
    assert reports[1].num_voxels == len(other)
    assert reports[1].num_purifications == 1


def test_what_was_asked_for_before_a_reset_is_done_with_the_new_map(worker, held):
    reports, answers = [], []
    worker.request_purify()
    wait(lambda: held.begun, "the purification")
    worker.request_purify(reports.append)
    worker.replace_map(Pipeline.reset, 0, answers.append)
    held.go_on.set()
    wait(lambda: reports, "the report")
    assert reports[0].num_voxels == 0


def test_a_worker_that_ends_leaves_nothing_that_works_on(worker, held):
    reports = []
    worker.request_purify(reports.append)
    wait(lambda: held.begun, "the purification")
    worker.request_purify(reports.append)
    worker.stop()
    assert [type(report) for report in reports] == [InputError, InputError]
    assert held.ended == [True]
    assert not worker.purifications.purifier._thread.is_alive()
    worker.start()
    held.go_on.set()
    worker.request_purify(reports.append)
    wait(lambda: len(reports) == 3, "a purification after the new start")
    assert reports[2].num_voxels == len(worker.pipeline.map)


def test_the_end_does_not_wait_for_a_step_without_end(worker, held, monkeypatch):
    """The thread goes on to the end of its step, and nobody takes its result."""
    monkeypatch.setattr(purifier, "_LONGEST_STEP_S", 0.05)
    go_on, real_run = threading.Event(), PurifyJob.run
    monkeypatch.setattr(PurifyJob, "run", lambda job, is_unwanted: (
        go_on.wait(20), real_run(job))[1])
    held.go_on.set()
    worker.request_purify()
    wait(lambda: worker.purifications.purifier.is_busy, "the purification")
    worker.stop()
    thread = worker.purifications.purifier._thread
    assert thread.is_alive()
    worker.start()
    go_on.set()
    thread.join(20)
    answers = []
    ask(worker, answers)
    wait(lambda: answers, "an answer")
    assert worker.pipeline.result is None


def test_an_error_in_a_purification_is_told_and_the_next_one_makes_it_good(worker, held):
    reports = []
    held.error = RuntimeError("no memory for it")
    held.go_on.set()
    worker.request_purify(reports.append)
    wait(lambda: reports, "the error")
    assert reports == [held.error]
    assert "no memory for it" in worker.failing["purify"]
    assert "in run" in worker.log[-1]  # where it happened
    assert worker.purifications.is_due
    held.error = None
    worker.request_purify()
    wait(lambda: worker.pipeline.result is not None, "the next one")
    wait(lambda: "purify" not in worker.failing, "all is well")


def test_a_snapshot_that_cannot_be_taken_is_an_error_too(worker, held, monkeypatch):
    def full(_is_full):
        raise torch.OutOfMemoryError("no memory for a snapshot")

    reports = []
    with monkeypatch.context() as patch:
        patch.setattr(worker.pipeline, "purify_job", full)
        worker.request_purify(reports.append)
        wait(lambda: reports, "the error")
    assert "no memory for a snapshot" in worker.failing["purify"]
    assert not worker.purifications.purifier.is_busy
    held.go_on.set()
    worker.request_purify(reports.append)
    wait(lambda: len(reports) == 2, "the next one")
    assert worker.failing == {}


def test_a_system_that_gives_no_thread_is_an_error_too(worker, held, monkeypatch):
    def none_left(_thread):
        raise RuntimeError("can't start new thread")

    reports = []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        worker.request_purify(reports.append)
        wait(lambda: reports, "the error")
    assert "can't start new thread" in str(reports[0])
    held.go_on.set()
    worker.request_purify(reports.append)
    wait(lambda: len(reports) == 2, "the next one")
    assert worker.failing == {}


def test_a_purification_that_cannot_begin_on_its_thread_is_an_error_too(
    worker, held, monkeypatch
):
    def no_thread(_num_threads):
        raise RuntimeError("can't start new thread")

    reports = []
    monkeypatch.setattr(purifier, "step_back", no_thread)
    worker.request_purify(reports.append)
    wait(lambda: reports, "the error")
    assert "can't start new thread" in str(reports[0])
    monkeypatch.undo()
    held.go_on.set()
    worker.request_purify(reports.append)
    wait(lambda: len(reports) == 2, "the next one")
    assert not isinstance(reports[1], Exception)


def test_a_card_that_is_lost_while_it_purifies_is_told_as_such(worker, held, monkeypatch):
    held.error = RuntimeError("CUDA error: an illegal memory access was encountered")
    reports = []

    def broken(*_arguments, **_names):
        raise held.error

    worker.request_purify(reports.append)
    wait(lambda: held.begun, "the purification")
    monkeypatch.setattr(device_loss.torch, "ones", broken)
    worker.pipeline.device = BrokenCard()
    held.go_on.set()
    wait(lambda: reports, "the error")
    assert str(reports[0]) == worker.lost_device
    assert "restart the node" in worker.lost_device


def test_a_purification_takes_half_of_the_threads_and_nobody_elses(worker, held, monkeypatch):
    counts = []
    monkeypatch.setattr(worker.purifications.purifier, "_num_threads", 6)
    monkeypatch.setattr(PurifyJob, "run", lambda *_arguments: counts.append(
        torch.get_num_threads()))
    before = torch.get_num_threads()
    try:
        worker.request_purify()
        wait(lambda: counts, "the purification")
        later = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert counts == [3, 6]
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)


def test_what_is_taken_out_while_one_runs_is_not_in_its_result(worker, held):
    """The run is of no use any more; who waits for it gets the next one."""
    reports, cleared = [], []
    worker.request_purify(reports.append)
    wait(lambda: held.begun, "the purification")
    known = len(worker.pipeline.map)
    x, y, z = worker.pipeline.map.centers_m()[0].tolist()
    worker.clear_region((x - 0.2, y - 0.2, z - 0.2), (x + 0.2, y + 0.2, z + 0.2), cleared.append)
    wait(lambda: cleared, "the removal")
    assert 0 < cleared[0] == known - len(worker.pipeline.map)
    held.go_on.set()
    worker.request_purify()
    wait(lambda: reports, "the purification after it")
    assert held.ended[0] is True
    assert reports[0].num_voxels == len(worker.pipeline.map) == len(worker.pipeline.result)


def test_a_purification_keeps_to_its_share_of_the_processors(monkeypatch):
    """A clock and a thread that works a second between two pauses."""
    now, waited = [0.0], []
    monkeypatch.setattr(background, "num_processors", lambda: 4)
    monkeypatch.setattr(background.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(background.time, "thread_time", lambda: now[0] - sum(waited))
    unwanted = threading.Event()

    def wait_for(seconds):
        waited.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(unwanted, "wait", wait_for)
    pace = background.Pace(unwanted, share=0.25, num_threads=2)  # half of the time
    for _ in range(20):
        now[0] += 0.1
        pace()
    assert sum(waited) == pytest.approx(2.0)
    at_ease = background.Pace(unwanted, share=0.5, num_threads=2)
    waited.clear()
    now[0] += 5
    at_ease()
    assert not waited
    unwanted.set()
    with pytest.raises(UnwantedError):
        at_ease()


def test_now_and_then_all_of_the_map_is_purified(worker, monkeypatch):
    kinds, reports = [], []
    real_job = worker.pipeline.purify_job
    monkeypatch.setattr(worker.pipeline, "purify_job",
                        lambda is_full=False: kinds.append(is_full) or real_job(is_full))
    for number, expected in enumerate((True, False, True), start=1):
        if expected:
            worker.purifications._full_at = -float("inf")
        worker.request_purify(reports.append)
        wait(lambda number=number: len(reports) == number, "the purification")
        assert kinds[-1] is expected


def test_what_is_seen_later_gets_a_label_soon(worker):
    """Without a purification: raw labels, at most so often as output.max_rate_hz says."""
    heard = []
    worker._listener.answered = lambda pipeline, *_: heard.append(len(pipeline.map))
    worker.set_query(ASKED)
    wait(lambda: heard, "the first answer")
    for k in range(3):
        worker.submit_frame(lambda k=k: frame_at(1.0 + k))
    wait(lambda: heard[-1] == len(worker.pipeline.map) and fused(worker) == 3, "the next answer")
    assert len(heard) <= 1 + 3
    worker._listener.wants_labels = False
    count = len(heard)
    worker.submit_frame(lambda: frame_at(7.0))
    wait(lambda: fused(worker) == 4, "the frame")
    assert worker._until_answer_s() is None
    assert len(heard) == count


def test_diagnostics_know_how_much_waits_and_how_old_the_rest_is(worker):
    purifications, reports = worker.purifications, []
    assert purifications.num_waiting_voxels == len(worker.pipeline.map)
    assert purifications.age_s == float("inf")
    worker.request_purify(reports.append)
    wait(lambda: reports, "the purification")
    assert purifications.num_waiting_voxels == 0
    assert 0 < purifications.age_s < 60
    worker.submit_frame(lambda: frame_at(1.0))
    wait(lambda: fused(worker) == 1, "the frame")
    assert purifications.num_waiting_voxels > 0
