"""What a run made of a recording, in a few figures, and which of them are absurd.

A wrong unit, a wrong pose convention or a wrong camera matrix all end in a map, only a bad one:
these are the figures where it shows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from geopurify_ros.config import DepthConfig
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.evaluate.overlap import AS_GIVEN, STILL, Overlap

_MANY_REFUSED = 0.25
_LITTLE_DEPTH = 0.2
_MUCH_BLACK = 0.25
_BLACK = 2.0  # of 255: darker than what cameras make of dark things
_BETTER, _TIMES_BETTER = 0.07, 2.0  # another reading of the poses, by both
_FEW, _FEW_BETTER = 4, 0.15  # with fewer comparisons chance is larger
_STILL_BETTER = 0.12  # frames of one room agree on more than nothing wherever they look
_TOO_FAR_APART = 0.05  # frames that share less say nothing of their poses
_SPARSE = slice(None, None, 8)
_NUMBER = re.compile(r"\S*\d\S*")  # names of files too


class Verdict:
    """Figures of a run, frame by frame."""

    def __init__(self, config: DepthConfig) -> None:
        """No frame yet."""
        self._config = config
        self._overlap = Overlap(config)
        self._used = 0
        self._num_believed = self._num_known = 0
        self._medians: list[float] = []

    def read(self, frame: RgbdFrame) -> None:
        """Take note of a frame that could be read, whatever becomes of it."""
        sparse = frame.depth_m[_SPARSE, _SPARSE]
        known = sparse[np.isfinite(sparse)]
        if known.size:
            self._medians.append(float(np.median(known)))
        self._num_known += int(np.isfinite(frame.depth_m).sum())

    def used(self, frame: RgbdFrame, num_believed: int) -> None:
        """Take note of a frame that entered the map with so many pixels."""
        self._used += 1
        self._num_believed += num_believed
        self._overlap.add(frame)

    @property
    def depth_hint(self) -> str:
        """Advice where depth is read and half of it out of range; else empty."""
        median_m = float(np.median(self._medians)) if self._medians else np.nan
        if np.isnan(median_m) or self._config.min_m <= median_m <= self._config.max_m:
            return ""
        return (
            f"; the median depth is {median_m:.3g} m: if it is in another unit than millimetres, "
            "give that with --depth-unit, if it is right, set depth.max_m"
        )

    def report(self, refused: Mapping[str, int], voxels: VoxelMap) -> dict[str, Any]:
        """The figures, shares between 0 and 1 or None where there is none, and `warnings`."""
        reasons = by_kind(refused)
        colors = voxels.colors()
        black = (colors < _BLACK).all(dim=1).to(torch.float32)
        result: dict[str, Any] = {
            "frames_used": self._used,
            "frames_refused": sum(reasons.values()),
            "refused_by_reason": reasons,
            "depth_believed": self._num_believed / self._num_known if self._num_known else None,
            "voxels_without_color": float(black.mean()) if len(black) else None,
            "overlap": self._overlap.consecutive,
        }
        found = (
            self._refused(result), self._depth(result), _color(result),
            _poses(self._overlap.best(), self._overlap.num_judged),
        )
        result["warnings"] = [warning for warning in found if warning]
        return result

    def _refused(self, result: dict[str, Any]) -> str:
        used, refused = result["frames_used"], result["frames_refused"]
        if refused <= _MANY_REFUSED * (used + refused):
            return ""
        most = next(iter(result["refused_by_reason"]))
        return f"{refused} of {used + refused} frames were refused, most of them because: {most}"

    def _depth(self, result: dict[str, Any]) -> str:
        share = result["depth_believed"]
        if share is None or share >= _LITTLE_DEPTH:
            return ""
        return (
            f"only {share:.0%} of the depth is between depth.min_m = {self._config.min_m} and "
            f"depth.max_m = {self._config.max_m} m and not at an edge{self.depth_hint}"
        )


def by_kind(refused: Mapping[str, int]) -> dict[str, int]:
    """Reasons that differ in numbers and names of files are one: the first, with their sum."""
    first: dict[str, str] = {}
    count: Counter[str] = Counter()
    for reason, number in refused.items():
        kind = _NUMBER.sub("#", reason)
        count[first.setdefault(kind, reason)] += number
    return dict(count.most_common())


def _color(result: dict[str, Any]) -> str:
    share = result["voxels_without_color"]
    if share is None or share <= _MUCH_BLACK:
        return ""
    return (
        f"{share:.0%} of the voxels are black: are the colour images of the size that their "
        "camera matrix belongs to, and not dark?"
    )


def _poses(shares: dict[str, float], num_judged: int) -> str:
    """`shares` of Overlap.best."""
    if not shares:
        return ""
    given, still = shares[AS_GIVEN], shares[STILL]
    best = max((reading for reading in shares if reading != STILL), key=shares.__getitem__)
    few = num_judged < _FEW
    better = _FEW_BETTER if few else _BETTER
    if shares[best] >= max(given + better, _TIMES_BETTER * given):
        found = f"the poses seem to be {best}: read so, frames"
    elif not few and still >= max(given + _STILL_BETTER, _TIMES_BETTER * given):
        best, found = STILL, "the poses do not fit the images: without them, frames"
    else:
        return ""
    return (
        f"{found} agree on {shares[best]:.0%} of what they see, with the poses as given on "
        f"{given:.0%}; poses must be camera-to-world of the optical frame (x right, y down, z "
        "forward) in metres, and belong to these frames"
    )


def format_verdict(result: Mapping[str, Any]) -> list[str]:
    """The figures as lines: one, one for what was refused, and one for each warning."""
    total = result["frames_used"] + result["frames_refused"]
    parts = [f"{result['frames_used']} of {total} frames used"]
    for key, words in (("depth_believed", "of the depth believed"),
                       ("voxels_without_color", "of the voxels without colour"),
                       ("overlap", "of a frame seen by the one before")):
        if result[key] is not None:
            parts.append(f"{result[key]:.0%} {words}")
    overlap, doubts = result["overlap"], any("poses" in text for text in result["warnings"])
    if overlap is not None and overlap < _TOO_FAR_APART and not doubts:
        parts[-1] += " (too far apart to judge the poses by)"
    lines = [f"verdict: {', '.join(parts)}"]
    if result["refused_by_reason"]:
        reasons = (f"{n} x {reason}" for reason, n in result["refused_by_reason"].items())
        lines.append(f"refused: {'; '.join(reasons)}")
    return lines + [f"WARNING: {warning}" for warning in result["warnings"]]
