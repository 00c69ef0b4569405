"""From a recording to a map file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geopurify_ros.cameras import Topics
from geopurify_ros.config import Config
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.data.map_file import MAP_KIND
from geopurify_ros.data.output_files import check_target
from geopurify_ros.data.readers.formats import open_recording
from geopurify_ros.data.readers.recording import Recording
from geopurify_ros.errors import InputError
from geopurify_ros.evaluate.verdict import Verdict, by_kind
from geopurify_ros.offline.pipeline import new_pipeline, save_map
from geopurify_ros.progress import progress


def map_to_file(
    source: Path, out: Path, config: Config, every: int, topics: Topics
) -> dict[str, Any]:
    """Map every `every`-th frame of a recording and save the map.

    Unusable frames are counted; `topics` says which ones of a bag are meant.
    """
    check_target(out, MAP_KIND)
    with open_recording(source, config, topics) as recording:
        pipeline, verdict = new_pipeline(config), Verdict(config.depth)
        num_frames = _fuse(recording, every, pipeline, verdict)
    refused = recording.refused
    if len(pipeline.map) == 0:
        reason = next(iter(by_kind(refused)), "it has none")
        raise InputError(f"no frame of {source} could be used: {reason}{verdict.depth_hint}")
    header = save_map(pipeline, out)
    return {
        "map": str(out),
        "encoder": pipeline.encoder.id,
        "encoder_dtype": header.encoder_dtype,
        "num_frames": num_frames,
        "num_refused": sum(refused.values()),
        "refused": dict(refused.most_common(5)),
        "verdict": verdict.report(refused, pipeline.map),
        "num_voxels": len(pipeline.map),
        "bytes": out.stat().st_size,
        "median_ms": pipeline.stopwatch.median_ms(),
    }


def _fuse(recording: Recording, every: int, pipeline: Pipeline, verdict: Verdict) -> int:
    """Every `every`-th frame into the map; returns how many entered it."""
    total, num_frames = -(-len(recording) // every), 0
    for frame in progress(recording.frames(every), total, "map", "frame"):
        verdict.read(frame)
        try:
            verdict.used(frame, pipeline.integrate(frame).num_points)
            num_frames += 1
        except InputError as error:
            recording.refused[str(error)] += 1
    return num_frames
