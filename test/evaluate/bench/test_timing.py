"""What is measured, in which order, and what is made of it; no test asks how long it took."""

import pytest
import torch

from geopurify_ros.evaluate.bench.timing import (
    Clock,
    Setup,
    StageClock,
    case,
    growth_exponent,
    in_turn,
    seconds,
)

CPU = Clock(torch.device("cpu"))


def test_jobs_alternate_after_a_warm_up():
    done = []
    runs = in_turn({"a": lambda: done.append("a"), "b": lambda: done.append("b")}, 2, CPU)
    assert done == ["a", "b"] * 3
    assert {name: len(taken) for name, taken in runs.items()} == {"a": 2, "b": 2}
    in_turn({"a": lambda: done.append("cold")}, 1, CPU, has_warm_up=False)
    assert done.count("cold") == 1


def test_waiting_is_no_processor_time(monkeypatch):
    monkeypatch.setattr("time.process_time", lambda: 2.0)
    monkeypatch.setattr("time.perf_counter", lambda: 1 / 0)
    assert CPU.timed(lambda: "made") == ("made", 0.0)
    assert CPU.name == "processor time of the process"
    assert "wall" in Clock(torch.device("cuda")).name


def test_stages_are_added_up_until_they_are_taken(monkeypatch):
    watch = StageClock(CPU)
    ticks = iter((1.0, 2.0, 10.0, 14.0))
    monkeypatch.setattr("time.process_time", lambda: next(ticks))
    for _ in range(2):
        with watch.measure("embed"):
            pass
    assert watch.taken_ms() == {"embed": pytest.approx(5000.0)}
    assert watch.taken_ms() == {}


def test_growth_is_the_slope_of_logarithms():
    runs = {n: [0.5 * n**1.5, 0.5 * n**1.5, 1e9] for n in (100, 1000, 20_000)}
    assert growth_exponent(runs) == pytest.approx(1.5)
    assert growth_exponent({100: [1.0]}) is None
    assert seconds({5: [1000.0, 3000.0, 2000.0]}) == {5: 2.0}


def test_a_case_has_median_spread_and_ratio():
    made = case([3.0, 1.0, 2.0], [8.0, 8.0], "plain", True, growth_exponent=0.1)
    assert made["median_ms"] == 2.0
    assert made["spread_ms"] == 2.0
    assert made["quartiles_ms"] == [1.5, 2.5]
    assert made["ratio"] == 4.0
    assert made["growth_exponent"] == 0.1
    alone = case([1.0], [], None, None)
    assert (alone["ratio"], alone["peer_ms"], alone["equal"]) == (None, None, None)


def test_a_quick_setup_takes_the_small_sizes():
    assert Setup(torch.device("cpu")).either("long", "quick") == "long"
    assert Setup(torch.device("cpu"), is_quick=True).either("long", "quick") == "quick"
