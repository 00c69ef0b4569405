"""A pipeline from a configuration: the encoder, the student and the device that it names."""

from __future__ import annotations

from geopurify_ros.config import Config
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.data.student_file import student_for
from geopurify_ros.encoders import load_encoder, pick_device


def new_pipeline(config: Config | None = None) -> Pipeline:
    """A pipeline with the configured encoder on the configured device; its map is empty.

    Raises:
        ConfigError: there is no such encoder or device, or it lacks the number type.
        CheckpointError: weights are missing or of another encoder.
    """
    config = config or Config()
    device = pick_device(config.encoder.device)
    encoder = load_encoder(config.encoder.name, device, config.encoder.dtype)
    student = student_for(config.purify, encoder, config.map.voxel_size_m, device)
    return Pipeline(encoder, config, device, student)
