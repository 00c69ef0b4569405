"""A bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys

import pytest

from geopurify_ros import progress as module
from geopurify_ros.progress import progress


@pytest.fixture
def clock(monkeypatch):
    """A second for every look."""
    seconds = iter(range(1000))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(seconds))


def test_a_log_gets_a_line_now_and_then(clock, capsys):
    assert list(progress(range(25), 25, "map", "frame")) == list(range(25))
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("map: 25 of 25 frames in ")
    assert 2 <= len(lines) <= 4
    assert all(line.startswith("map: ") and "\r" not in line for line in lines)


def test_an_unknown_length_is_not_told(clock, capsys):
    list(progress(iter("abcdefghijkl"), None, "play", "message"))
    assert capsys.readouterr().err.splitlines()[-1].startswith("play: 12 messages in ")


def test_what_is_soon_done_is_not_told(capsys):
    list(progress(range(3), 3, "map", "frame"))
    assert capsys.readouterr().err == ""


def test_what_raises_ends_it(capsys):
    def broken():
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(progress(broken(), None, "map", "frame"))


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(progress(range(3), 3, "map", "frame")) == [0, 1, 2]
    assert "map: 100%" in capsys.readouterr().err
