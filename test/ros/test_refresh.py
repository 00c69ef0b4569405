"""How often clouds go out: a clock that is set by hand."""

import pytest

from geopurify_ros.ros import refresh as refresh_module
from geopurify_ros.ros.refresh import Refresh


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(refresh_module, "monotonic", lambda: now[0])
    return now


def test_the_first_answer_is_due_at_once(clock):
    assert Refresh().until_answer_s(2.0, 0) == 0.0


def test_answers_keep_to_the_rate(clock):
    refresh = Refresh()
    refresh.begin_answer()
    assert refresh.until_answer_s(2.0, 0) == pytest.approx(0.5)
    assert refresh.until_answer_s(0.0, 0) == 0.0  # no limit
    clock[0] += 0.4
    assert refresh.until_answer_s(2.0, 0) == pytest.approx(0.1)


def test_answers_that_take_long_leave_time_to_frames(clock):
    refresh = Refresh()
    refresh.begin_answer()
    clock[0] += 0.4
    refresh.end_answer(is_refresh=True)
    assert refresh.until_answer_s(2.0, 0) == pytest.approx(1.2 - 0.4)
    assert refresh.until_answer_s(2.0, 10) == pytest.approx(3.6 - 0.4)


def test_an_answer_to_a_new_query_says_nothing_of_refreshed_ones(clock):
    refresh = Refresh()
    refresh.begin_answer()
    clock[0] += 5.0
    refresh.end_answer(is_refresh=False)
    assert refresh.until_answer_s(2.0, 0) == 0.0


def test_the_map_keeps_to_the_rate_as_well(clock):
    refresh = Refresh()
    assert refresh.is_map_due(0.1)
    refresh.end_map()
    clock[0] += 9.0
    assert not refresh.is_map_due(0.1)
    clock[0] += 1.5
    assert refresh.is_map_due(0.1)
