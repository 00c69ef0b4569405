"""The vocabulary is encoded in the background: who asks meanwhile does not wait for long."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from box_room import Oracle
from ros_harness import ColorEncoder, NamingEncoder, running
from std_srvs.srv import Trigger

from geopurify_ros.core.mapping.encoder import Profiled, Vocabulary
from geopurify_ros.ros import late_vocabulary
from geopurify_ros.ros.late_vocabulary import LateVocabulary
from geopurify_ros.ros.report import Reporter

CPU = torch.device("cpu")


class SlowEncoder(NamingEncoder):
    """Its names are encoded when it may go on."""

    def __init__(self):
        self.go_on, self.num_encoded = threading.Event(), 0

    def encode_text(self, texts):
        if texts == self.vocabulary:
            self.num_encoded += 1
            assert self.go_on.wait(20)
        return super().encode_text(texts)


class Log(list):
    warning = info = list.append


@pytest.fixture
def log():
    return Log()


def late(encoder, log):
    return LateVocabulary(encoder, CPU, Reporter(log))


def test_who_asks_meanwhile_waits_only_at_the_start(log, monkeypatch):
    monkeypatch.setattr(late_vocabulary, "_PATIENCE_S", 0.2)
    encoder, is_read = SlowEncoder(), threading.Event()
    knows = late(encoder, log)
    started_s = time.monotonic()
    knows.begin(is_read.set)
    assert time.monotonic() - started_s < 0.2
    assert knows.vocabulary is None
    assert time.monotonic() - started_s >= 0.19
    started_s = time.monotonic()
    assert knows.vocabulary is None
    assert time.monotonic() - started_s < 0.1
    encoder.go_on.set()
    assert is_read.wait(20)
    assert torch.equal(knows.vocabulary, encoder.encode_text(encoder.vocabulary))
    assert log[0] == "encoder: encoding the 4 names of the vocabulary"
    assert log[1].startswith("encoder: the vocabulary is encoded, after ")
    assert len(log) == 2


def test_who_asks_early_gets_it_as_soon_as_it_is_there(log):
    encoder = SlowEncoder()
    knows = late(encoder, log)
    knows.begin(lambda: None)
    threading.Timer(0.1, encoder.go_on.set).start()
    assert len(knows.vocabulary) == 4
    assert encoder.num_encoded == 1


def test_a_failure_is_told_and_the_next_question_tries_again(log):
    encoder, is_read = SlowEncoder(), threading.Event()
    failures = [RuntimeError("no memory left")]

    def encode(texts):
        if failures:
            raise failures.pop()
        return NamingEncoder.encode_text(encoder, texts)

    encoder.encode_text = encode
    knows = late(encoder, log)
    knows.begin(is_read.set)
    assert len(knows.vocabulary) == 4
    assert not is_read.is_set()
    assert log == ["encoder: encoding the 4 names of the vocabulary",
                   "encoder: the vocabulary cannot be encoded: RuntimeError('no memory left')"]


def test_a_node_that_goes_says_nothing_any_more(log):
    encoder, is_read = SlowEncoder(), threading.Event()
    knows = late(encoder, log)
    knows.begin(is_read.set)
    knows.destroy()
    encoder.go_on.set()
    assert len(knows.vocabulary) == 4
    assert not any("is encoded" in line for line in log)


@pytest.mark.parametrize("encoder", [ColorEncoder(), Oracle()], ids=lambda e: e.id)
def test_an_encoder_without_names_has_none_by_accident(encoder, log):
    assert not isinstance(encoder, Vocabulary | Profiled)
    knows = late(encoder, log)
    knows.begin(lambda: pytest.fail("there is nothing to read"))
    assert knows.names == ()
    assert knows.vocabulary is None
    assert log == []


def test_the_active_query_is_answered_again_with_the_names(monkeypatch):
    """The start waits for nothing, and frames are fused meanwhile."""
    monkeypatch.setattr(late_vocabulary, "_PATIENCE_S", 0.0)
    encoder = SlowEncoder()
    with running(encoder=encoder, **{"query.initial": "red"}) as harness:
        harness.fuse(2)
        first = harness.ask("red, green")
        assert not first.calibrated
        assert first.results[0].found
        assert first.results[1].nearest == ""
        encoder.go_on.set()
        harness.wait(lambda: harness.camera.results[-1].calibrated, "an answer with the names")
        red, green = harness.camera.results[-1].results
        assert (red.found, red.otherwise) == (True, "grey")
        assert (green.found, green.nearest) == (False, "red")


def test_the_start_does_not_wait_and_the_names_are_encoded_once():
    encoder = SlowEncoder()
    with running(encoder=encoder) as harness:  # active while the names are encoded
        encoder.go_on.set()
        harness.fuse()
        assert harness.ask("red").calibrated
        harness.fuse()
        assert harness.call(Trigger, "purify", Trigger.Request()).success
        assert harness.ask("green").calibrated
    assert encoder.num_encoded == 1


def test_an_encoder_without_names_is_not_calibrated_and_announces_nothing():
    with running(encoder=ColorEncoder()) as harness:
        harness.fuse()
        result = harness.ask("red, green")
        assert not result.calibrated
        red, green = result.results
        assert (red.found, red.num_pieces, red.otherwise) == (True, 1, "")
        assert red.box_max.z > 2
        assert (green.found, green.nearest, green.nearest_score) == (False, "", 0.0)
        assert not any("vocabulary" in line for line in harness.camera.told)
