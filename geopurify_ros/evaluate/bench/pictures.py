"""Cases `encode` and `keyframe_e2e`: the shipped encoder, and keyframes of the shipped room.

Both in float32, which every machine computes alike.
"""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from geopurify_ros.config import Config, with_values
from geopurify_ros.core.answers.query import TextQuery
from geopurify_ros.core.mapping.encoder import encode_frame
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.core.purification.purified import Purified
from geopurify_ros.data.readers.formats import open_labeled
from geopurify_ros.data.student_file import student_for
from geopurify_ros.encoders import load_encoder
from geopurify_ros.evaluate.bench import scene
from geopurify_ros.evaluate.bench.same_answer import answer_difference, is_same_answer, worst
from geopurify_ros.evaluate.bench.timing import Setup, StageClock, case, in_turn

_DTYPE = "float32"
_ROOM = Path(__file__).parents[2] / "assets" / "sample_room"
_MAPPED, _QUICK_MAPPED = 30, 6  # frames of the room that the map is made of beforehand


def bench_encode(setup: Setup) -> dict[str, Any]:
    """Colours and depth of 320x240 and of 640x480 pixels; there is no plainer way."""
    encoder = load_encoder("builtin", setup.device, _DTYPE)
    frames = {"320x240": scene.frame(240, 320), "640x480": scene.frame(480, 640)}
    for frame in frames.values():
        frame.rgb[:] = np.random.default_rng(0).integers(0, 256, frame.rgb.shape)
    runs = in_turn({
        size: partial(encode_frame, encoder, frame, setup.device, True)
        for size, frame in frames.items()
    }, setup.either(7, 1), setup.clock)  # fmt: skip
    return case(
        runs["640x480"], [], None, None, dtype=_DTYPE,
        by_size_ms={size: round(statistics.median(taken), 1) for size, taken in runs.items()},
    )


def bench_keyframe(setup: Setup) -> dict[str, Any]:
    """From an image to labels of the map: integrate, purify what changed, ask for five names."""
    recording = open_labeled(_ROOM)
    asked = TextQuery(tuple(recording.class_names.values())[:5], None, 0.2, 8)
    pipeline, watch = _room_pipeline(setup), StageClock(setup.clock)
    numbers = iter(range(len(recording)))
    for _ in range(setup.either(_MAPPED, _QUICK_MAPPED)):
        pipeline.integrate(recording.frame(next(numbers)))
    pipeline.purify()
    pipeline.query(asked, with_raw=False)  # texts are encoded
    pipeline.stopwatch = watch
    fast, plain, differences = [], [], []
    stages: dict[str, list[float]] = {}
    for _ in range(setup.either(5, 2)):
        one = _keyframe(pipeline, recording.frame(next(numbers)), asked, setup)
        for name, taken in watch.taken_ms().items():
            stages.setdefault(name, []).append(taken)
        full, full_ms = setup.clock.timed(pipeline.purify_job(is_full=True).run)
        assert isinstance(full, Purified)
        differences.append(answer_difference(pipeline, full, pipeline.knows.names))
        watch.taken_ms()
        fast.append(sum(one.values()))
        plain.append(fast[-1] - one["purify"] + full_ms)
    return case(
        fast, plain, f"a full pass instead, {len(pipeline.map):,} voxels",
        all(is_same_answer(one) for one in differences), dtype=_DTYPE,
        num_voxels=len(pipeline.map),
        stages_ms={name: round(statistics.median(one), 1) for name, one in stages.items()},
        **worst(differences),
    )  # fmt: skip


def _room_pipeline(setup: Setup) -> Pipeline:
    config = with_values(Config(), {"encoder.dtype": _DTYPE})
    encoder = load_encoder("builtin", setup.device, _DTYPE)
    student = student_for(config.purify, encoder, config.map.voxel_size_m, setup.device)
    return Pipeline(encoder, config, setup.device, student)


def _keyframe(
    pipeline: Pipeline, frame: RgbdFrame, asked: TextQuery, setup: Setup
) -> dict[str, float]:
    """Milliseconds of the three steps."""
    _, integrate_ms = setup.clock.timed(lambda: pipeline.integrate(frame))
    _, purify_ms = setup.clock.timed(pipeline.purify)
    _, query_ms = setup.clock.timed(lambda: pipeline.query(asked, with_raw=False))
    return {"integrate": integrate_ms, "purify": purify_ms, "query": query_ms}
