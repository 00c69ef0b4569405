"""Warnings name a fault once, not once a frame."""

from __future__ import annotations

from types import SimpleNamespace

from geopurify_ros.ros.report import Reporter


def test_sentences_that_differ_in_numbers_are_one_fault():
    said: list[str] = []
    reporter = Reporter(SimpleNamespace(warning=said.append))
    for i in range(41):
        reporter.warn("frame", f"the pose is {4_676_557 + i} m from the origin of the map")
        reporter.warn("frame", f"/depth: {i}.5e3 bytes of data")
    assert said == ["frame: the pose is 4676557 m from the origin of the map",
                    "frame: /depth: 0.5e3 bytes of data"]
