"""A synthetic room, mapped with an oracle."""

from __future__ import annotations

from oracle import OracleEncoder, OracleNoise

from geopurify_ros.config import Config, with_values
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.data.synthetic import synthetic_room
from geopurify_ros.evaluate.runner import Mapped, VoxelTruth


def map_room(seed: int, color_neutral: bool, noise: OracleNoise | None = None) -> Mapped:
    room = synthetic_room(seed, color_neutral=color_neutral)
    # METHODS' alpha and our T for it; the defaults were chosen for the shipped students
    values = {"purify.embedding": "geometric", "purify.affinity_scale": 20.0,
              "purify.iterations": 40}
    config = with_values(Config(), values)
    oracle = OracleEncoder(room.class_names, noise, seed=seed)
    pipeline = Pipeline(oracle, config)
    truth = VoxelTruth(list(range(1, len(room.class_names) + 1)))
    for frame, label, _ in room.frames:
        oracle.register(frame, label)
        pipeline.integrate(frame)
        truth.add(pipeline.map.index, frame, label, config.depth, config.map.voxel_size_m)
    return Mapped(pipeline, truth.labels(len(pipeline.map)), room.class_names)
