"""The part of tf2_ros.Buffer that a mapping node needs, for machines without tf2."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geopurify_ros.data.messages.arrays import matrix_from_pose, stamp_ns
from geopurify_ros.errors import InputError, TransformError


def slerp(
    a: NDArray[np.float64], b: NDArray[np.float64], share: float
) -> NDArray[np.float64]:
    """(4,) quaternion between unit quaternions, along the shorter arc."""
    dot = float(a @ b)
    if dot < 0:
        b, dot = -b, -dot
    across = b - dot * a
    sine = float(np.linalg.norm(across))
    if sine < 1e-12:
        return a
    angle = share * np.arctan2(sine, dot)  # exact for small angles, where arccos is not
    turned: NDArray[np.float64] = np.cos(angle) * a + np.sin(angle) * across / sine
    return turned


_STALE_TO_START_ANEW = 3  # messages in a row; fewer are strays, as tf2 drops them
_SLOW_S = 0.2  # between transforms; what comes more often is not why an image waits
_OTHER_CLOCK_S = 300.0  # no robot is that late
_Value = tuple[NDArray[np.float64], NDArray[np.float64]]  # translation (3,), quaternion (4,)


class _Link:
    """The poses of one child in its parent."""

    def __init__(self, parent: str, static: bool) -> None:
        self.parent = parent
        self.static = static
        self.times: list[int] = []  # sorted; [0] for a static link
        self.values: dict[int, _Value] = {}
        self.stale: list[tuple[int, _Value]] = []  # the last ones, older than what is kept


def _out_of_reach(times: list[int], time_ns: int) -> str:
    """Why there is no pose at a time before the first or after the last of `times` (sorted)."""
    off_s = (time_ns - (times[-1] if time_ns > times[-1] else times[0])) * 1e-9
    if abs(off_s) > _OTHER_CLOCK_S:
        return (
            f"asked {abs(off_s):.0f} s {'after' if off_s > 0 else 'before'} its transforms: the "
            "stamps of images and poses are of different clocks (use_sim_time, a driver that "
            "does not stamp, machines that are not synchronised)"
        )
    if off_s < 0:
        return f"asked {-off_s:.3f} s before the oldest transform"
    gap_s = _usual_gap_s(times)
    if gap_s < _SLOW_S:
        return f"asked {off_s:.3f} s after the newest transform"
    return (
        f"asked {off_s:.3f} s after the newest transform, they come at {1 / gap_s:.2g} Hz: images "
        f"have to wait for them, set pose.timeout_s to {1.5 * gap_s:.1f} or more"
    )


def _usual_gap_s(times: list[int]) -> float:
    """Usual time between the last few, in seconds; 0 for fewer than two."""
    gaps = sorted(b - a for a, b in pairwise(times[-10:]))
    return gaps[len(gaps) // 2] * 1e-9 if gaps else 0.0


class TransformBuffer:
    """Transforms child -> parent over time; answers with 4x4 matrices, interpolated."""

    def __init__(self, cache_s: float = 10.0) -> None:
        """Keep `cache_s` seconds behind the newest transform of each frame."""
        self._cache_ns = int(cache_s * 1e9)
        self._links: dict[str, _Link] = {}  # by child
        self._lock = threading.Lock()

    def set_transform(self, msg: Any, static: bool = False) -> None:
        """Take one geometry_msgs/TransformStamped.

        Raises:
            InputError: NaN, a zero quaternion, or a frame that is its own parent.
        """
        t, q = msg.transform.translation, msg.transform.rotation
        self.set(
            msg.header.frame_id, msg.child_frame_id, stamp_ns(msg.header.stamp),
            (t.x, t.y, t.z), (q.x, q.y, q.z, q.w), static,
        )

    def set(
        self, parent: str, child: str, time_ns: int, translation: tuple[float, ...],
        quaternion: tuple[float, ...], static: bool = False,
    ) -> None:
        """Take the pose of `child` in `parent`; see set_transform."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if not child or not parent or child == parent:
            raise InputError(f"a transform from '{child}' to '{parent}' makes no sense")
        if time_ns == 0 and not static:
            link = self._links.get(child)
            if link is not None and 0 in link.values:  # simulated time may begin there, once
                raise InputError("its stamps are zero: set the stamp in the node that sends it")
        matrix_from_pose(translation, quaternion)  # refuses what is not finite
        q = np.asarray(quaternion, dtype=np.float64)
        value = (np.asarray(translation, dtype=np.float64), q / np.linalg.norm(q))
        with self._lock:
            link = self._links.get(child)
            if link is None or static or (link.static, link.parent) != (static, parent):
                # poses in another parent are no neighbours in time either
                link = self._links[child] = _Link(parent, static)
            self._insert(link, 0 if static else time_ns, value)

    def _insert(self, link: _Link, time_ns: int, value: _Value) -> None:
        times, values = link.times, link.values
        if times and time_ns < times[-1] - self._cache_ns:
            link.stale.append((time_ns, value))
            if len(link.stale) < _STALE_TO_START_ANEW:
                return
            # Time began anew, or one stamp was far in the future: what is there would never
            # be reached again, and would keep out all that comes.
            times.clear()
            values.clear()
            for old_ns, old in link.stale[:-1]:
                self._keep(link, old_ns, old)
        link.stale.clear()
        self._keep(link, time_ns, value)

    def _keep(self, link: _Link, time_ns: int, value: _Value) -> None:
        times, values = link.times, link.values
        if time_ns not in values:
            insort(times, time_ns)
        values[time_ns] = value
        cut = bisect_left(times, times[-1] - self._cache_ns)
        for old in times[:cut]:
            del values[old]
        del times[:cut]

    def knows(self, child: str) -> bool:
        """Whether a pose of this frame has come."""
        with self._lock:
            return child in self._links

    def clear(self) -> None:
        """Forget all but static transforms, as after a jump back in time."""
        with self._lock:
            self._links = {child: link for child, link in self._links.items() if link.static}

    def lookup(self, target: str, source: str, time_ns: int) -> NDArray[np.float64]:
        """(4, 4) float64 that takes points of frame `source` into frame `target`.

        Raises:
            TransformError: no path between the frames, or no data at that time.
        """
        target, source = target.lstrip("/"), source.lstrip("/")
        with self._lock:
            up, down = self._chain(source), self._chain(target)
            common = next((frame for frame in up if frame in down), None)
            if common is None:
                raise TransformError(self._no_path(target, source, down, up))
            T_common_source, T_common_target = np.eye(4), np.eye(4)
            for frame in up[: up.index(common)]:
                T_common_source = self._step(frame, time_ns) @ T_common_source
            for frame in down[: down.index(common)]:
                T_common_target = self._step(frame, time_ns) @ T_common_target
        T_target_source: NDArray[np.float64] = np.linalg.inv(T_common_target) @ T_common_source
        return T_target_source

    @staticmethod
    def _no_path(target: str, source: str, down: list[str], up: list[str]) -> str:
        return (
            f"no transform connects '{source}' to '{target}': "
            f"known are {' <- '.join(reversed(up))} and {' <- '.join(reversed(down))}"
        )

    def _step(self, child: str, time_ns: int) -> NDArray[np.float64]:
        link = self._links[child]
        times, values = link.times, link.values
        if link.static:
            return matrix_from_pose(*values[0])
        k = bisect_right(times, time_ns)
        if k and times[k - 1] == time_ns:
            return matrix_from_pose(*values[time_ns])
        if not 0 < k < len(times):
            raise TransformError(f"'{link.parent}' <- '{child}': {_out_of_reach(times, time_ns)}")
        before, after = times[k - 1], times[k]
        share = (time_ns - before) / (after - before)
        (t_a, q_a), (t_b, q_b) = values[before], values[after]
        return matrix_from_pose((1 - share) * t_a + share * t_b, slerp(q_a, q_b, share))

    def _chain(self, frame: str) -> list[str]:
        chain = [frame]
        while chain[-1] in self._links:
            chain.append(self._links[chain[-1]].parent)
            if len(chain) > 1000:
                raise TransformError(f"the transforms above '{frame}' form a loop")
        return chain

    def newest_ns(self, target: str, source: str) -> int | None:
        """Stamp up to which every moving link between the frames is known; None: not connected."""
        target, source = target.lstrip("/"), source.lstrip("/")
        with self._lock:
            up, down = self._chain(source), self._chain(target)
            common = next((frame for frame in up if frame in down), None)
            if common is None:
                return None
            between = up[: up.index(common)] + down[: down.index(common)]
            moving = [self._links[c].times[-1] for c in between if not self._links[c].static]
        return min(moving, default=0)

    def rates_hz(self, target: str, source: str) -> dict[str, float]:
        """How often each moving link between the frames came of late; empty: not connected."""
        target, source = target.lstrip("/"), source.lstrip("/")
        with self._lock:
            up, down = self._chain(source), self._chain(target)
            common = next((frame for frame in up if frame in down), None)
            if common is None:
                return {}
            between = up[: up.index(common)] + down[: down.index(common)]
            gaps = {
                f"{self._links[c].parent} <- {c}": _usual_gap_s(self._links[c].times)
                for c in between if not self._links[c].static
            }
        return {name: 1 / gap_s for name, gap_s in gaps.items() if gap_s > 0}

    def describe(self, target: str, source: str) -> str:
        """The frames from `target` down to `source`, or where they do not meet."""
        target, source = target.lstrip("/"), source.lstrip("/")
        try:
            with self._lock:
                up, down = self._chain(source), self._chain(target)
        except TransformError as error:
            return str(error)
        common = next((frame for frame in up if frame in down), None)
        if common is None:
            return self._no_path(target, source, down, up)
        path = down[: down.index(common) + 1] + up[: up.index(common)][::-1]
        return " <- ".join(path)
