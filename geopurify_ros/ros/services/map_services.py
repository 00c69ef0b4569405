"""What a user does to the map: ~/purify ~/reset ~/pause ~/clear_region ~/save_map ~/load_map."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from geopurify_ros.config import MapConfig
from geopurify_ros.core.mapping.encoder import dtype_name
from geopurify_ros.core.mapping.map_records import MapSnapshot
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.data.map_file import UNKNOWN_DTYPE, MapHeader, load_map, save_map
from geopurify_ros.errors import GeoPurifyError, InputError
from geopurify_ros.ros.services.map_folder import MapFolder
from geopurify_ros.ros.services.worker_results import waking
from geopurify_ros.ros.worker import MappingWorker
from geopurify_ros.srv import ClearRegion, MapFile

_BUSY = "too much is waiting, try again later"


class MapServices:
    """Files are written and read on a thread of their own; the worker only lends a snapshot."""

    def __init__(
        self, node: Node, config: MapConfig, worker: MappingWorker, group: CallbackGroup
    ) -> None:
        """Offer the services."""
        self._node, self._map_frame, self._worker = node, config.frame, worker
        self._folder = MapFolder(config.folder)
        self._files = ThreadPoolExecutor(1, "map file", initializer=_yield_to_mapping)
        self._services = [
            node.create_service(kind, f"~/{name}", callback, callback_group=group)
            for name, kind, callback in (
                ("purify", Trigger, self._on_purify),
                ("reset", Trigger, self._on_reset),
                ("pause", SetBool, self._on_pause),
                ("clear_region", ClearRegion, self._on_clear),
                ("save_map", MapFile, self._on_save),
                ("load_map", MapFile, self._on_load),
            )
        ]

    def destroy(self) -> None:
        """End; a file that is being written is finished first."""
        for service in self._services:
            self._node.destroy_service(service)
        self._files.shutdown(wait=True)

    async def _on_purify(self, _request, response: Trigger.Response) -> Trigger.Response:
        future = Future()
        self._worker.request_purify(waking(self._node, future))
        return _answered(response, await future, lambda done: (
            f"purified {done.num_voxels} voxels, entropy {done.entropy:.2f}"
        ))

    async def _on_reset(self, _request, response: Trigger.Response) -> Trigger.Response:
        result = await self._replace(Pipeline.reset, 0)
        return self._told(_answered(response, result, lambda _: "the map is empty"))

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._worker.pause(request.data)
        text = "mapping is paused, frames are dropped" if request.data else "mapping goes on"
        return self._told(_answered(response, None, lambda _: text))

    async def _on_clear(
        self, request: ClearRegion.Request, response: ClearRegion.Response
    ) -> ClearRegion.Response:
        low, high = ((p.x, p.y, p.z) for p in (request.min, request.max))
        future = Future()
        if not all(a <= b for a, b in zip(low, high, strict=True)):  # false for NaN, too
            future.set_result(InputError(
                f"the box from {low} to {high} is none: min must not exceed max along any axis"
            ))
        elif not self._worker.clear_region(low, high, waking(self._node, future)):
            future.set_result(InputError(_BUSY))
        result = await future
        response.num_voxels = 0 if isinstance(result, Exception) else result
        return self._told(_answered(response, result, lambda count: f"{count} voxels removed"))

    async def _on_save(
        self, request: MapFile.Request, response: MapFile.Response
    ) -> MapFile.Response:
        lent = Future()
        pipeline = self._worker.pipeline
        if not self._worker.call(
            "save", lambda: pipeline.lifted.snapshot(), waking(self._node, lent)
        ):
            lent.set_result(InputError(_BUSY))
        snapshot = await lent
        if not isinstance(snapshot, Exception):
            snapshot = await self._on_file_thread(self._save, request.file_path, snapshot)
        return self._told(_answered(response, snapshot, lambda header: (
            f"{header.num_voxels} voxels saved in {self._folder.inside(request.file_path)}"
        )))

    async def _on_load(
        self, request: MapFile.Request, response: MapFile.Response
    ) -> MapFile.Response:
        loaded = await self._on_file_thread(self._load, request.file_path)
        if not isinstance(loaded, Exception):
            voxel_map, header = loaded
            loaded = await self._replace(
                lambda pipeline: pipeline.replace_map(voxel_map), header.stamp_ns
            )
        return self._told(_answered(response, loaded, lambda _: (
            f"{header.num_voxels} voxels loaded from "
            f"{self._folder.inside(request.file_path)}, mapping goes on with "
            f"them{self._other_dtype(header)}"
        )))

    def _save(self, text: str, snapshot: MapSnapshot) -> MapHeader:
        if not len(snapshot):
            raise InputError("the map is empty: nothing was saved")
        encoder = self._worker.pipeline.encoder
        path = self._folder.inside(text)
        self._folder.make_room(path)
        kind = dtype_name(encoder)
        return save_map(path, snapshot, encoder.id, self._map_frame, encoder_dtype=kind)

    def _load(self, text: str):
        pipeline = self._worker.pipeline
        path, size_m = self._folder.inside(text), pipeline.map.voxel_size_m
        return load_map(path, pipeline.encoder.id, size_m, pipeline.device, self._map_frame)

    def _other_dtype(self, header: MapHeader) -> str:
        """A remark on a map of another number type, whose features are of the same space."""
        mine, known = dtype_name(self._worker.pipeline.encoder), header.encoder_dtype
        if UNKNOWN_DTYPE in (mine, known) or mine == known:
            return ""
        return f" in {mine}; what was loaded was made in {known}"

    async def _replace(self, put: Callable[[Pipeline], None], stamp_ns: int) -> Any:
        future = Future()
        self._worker.replace_map(put, stamp_ns, waking(self._node, future))
        return await future

    async def _on_file_thread(self, job: Callable, *arguments) -> Any:
        """What `job` returns, or the error."""
        future = Future()
        done = waking(self._node, future)

        def run() -> None:
            try:
                done(job(*arguments))
            except Exception as error:  # also what nobody thought of: the caller must hear
                done(error)

        self._files.submit(run)
        return await future

    def _told(self, response):
        # two calls: a logger keeps one severity for each line of code, and raises otherwise
        if response.success:
            self._node.get_logger().info(response.message)
        else:
            self._node.get_logger().warning(response.message)
        return response


def _yield_to_mapping() -> None:
    """Files can wait, frames cannot: Linux gives each thread a priority of its own."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)


def _answered(response, result: Any, text: Callable[[Any], str]):
    response.success = not isinstance(result, Exception)
    if response.success:
        response.message = text(result)
    elif isinstance(result, GeoPurifyError):
        response.message = str(result)
    else:
        response.message = f"failed, the map is as it was: {result!r}"
    return response
