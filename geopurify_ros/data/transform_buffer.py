"""The part of tf2_ros.Buffer that a mapping node needs, for machines without tf2."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort

import numpy as np

from geopurify_ros.errors import InputError, TransformError
from geopurify_ros.ros.convert import matrix_from_pose, stamp_ns

_STATIC = None


def slerp(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """(4,) quaternion between unit quaternions, along the shorter arc."""
    dot = float(a @ b)
    if dot < 0:
        b, dot = -b, -dot
    across = b - dot * a
    sine = float(np.linalg.norm(across))
    if sine < 1e-12:
        return a
    angle = share * np.arctan2(sine, dot)  # exact for small angles, where arccos is not
    return np.cos(angle) * a + np.sin(angle) * across / sine


class TransformBuffer:
    """Transforms child -> parent over time; answers with 4x4 matrices, interpolated."""

    def __init__(self, cache_s: float = 10.0) -> None:
        """Keep `cache_s` seconds behind the newest transform of each frame."""
        self._cache_ns = int(cache_s * 1e9)
        self._parent: dict[str, str] = {}
        self._times: dict[str, list[int] | None] = {}  # sorted, or _STATIC
        self._values: dict = {}  # child -> {ns: (t, q)}, or (t, q)
        self._lock = threading.Lock()

    def set_transform(self, msg, static: bool = False) -> None:
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
        self, parent: str, child: str, time_ns: int, translation: tuple, quaternion: tuple,
        static: bool = False,
    ) -> None:
        """Take the pose of `child` in `parent`; see set_transform."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if not child or not parent or child == parent:
            raise InputError(f"a transform from '{child}' to '{parent}' makes no sense")
        matrix_from_pose(translation, quaternion)  # refuses what is not finite
        q = np.asarray(quaternion, dtype=np.float64)
        value = (np.asarray(translation, dtype=np.float64), q / np.linalg.norm(q))
        with self._lock:
            self._parent[child] = parent
            if static:
                self._times[child], self._values[child] = _STATIC, value
            else:
                self._insert(child, time_ns, value)

    def _insert(self, child: str, time_ns: int, value) -> None:
        if self._times.get(child) is _STATIC:
            self._times[child], self._values[child] = [], {}
        times, values = self._times[child], self._values[child]
        if times and time_ns < times[-1] - self._cache_ns:
            return
        if time_ns not in values:
            insort(times, time_ns)
        values[time_ns] = value
        cut = bisect_left(times, times[-1] - self._cache_ns)
        for old in times[:cut]:
            del values[old]
        del times[:cut]

    def clear(self) -> None:
        """Forget all but static transforms, as after a jump back in time."""
        with self._lock:
            for child in [c for c, times in self._times.items() if times is not _STATIC]:
                del self._times[child], self._values[child], self._parent[child]

    def lookup(self, target: str, source: str, time_ns: int) -> np.ndarray:
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
        return np.linalg.inv(T_common_target) @ T_common_source

    @staticmethod
    def _no_path(target: str, source: str, down: list[str], up: list[str]) -> str:
        return (
            f"no transform connects '{source}' to '{target}': "
            f"known are {' <- '.join(reversed(up))} and {' <- '.join(reversed(down))}"
        )

    def _step(self, child: str, time_ns: int) -> np.ndarray:
        times = self._times[child]
        if times is _STATIC:
            return matrix_from_pose(*self._values[child])
        values = self._values[child]
        k = bisect_right(times, time_ns)
        if k and times[k - 1] == time_ns:
            return matrix_from_pose(*values[time_ns])
        if not 0 < k < len(times):
            off_s = (time_ns - (times[-1] if k else times[0])) * 1e-9
            where = f"{off_s:.3f} s after the newest" if k else f"{-off_s:.3f} s before the oldest"
            raise TransformError(f"'{self._parent[child]}' <- '{child}': asked {where} transform")
        before, after = times[k - 1], times[k]
        share = (time_ns - before) / (after - before)
        (t_a, q_a), (t_b, q_b) = values[before], values[after]
        return matrix_from_pose((1 - share) * t_a + share * t_b, slerp(q_a, q_b, share))

    def _chain(self, frame: str) -> list[str]:
        chain = [frame]
        while chain[-1] in self._parent:
            chain.append(self._parent[chain[-1]])
            if len(chain) > 1000:
                raise TransformError(f"the transforms above '{frame}' form a loop")
        return chain
