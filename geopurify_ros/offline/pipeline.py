"""A pipeline from a configuration, and its map to a file and back."""

from __future__ import annotations

from pathlib import Path

from geopurify_ros.config import Config, with_values
from geopurify_ros.core.mapping.encoder import dtype_name
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.data import map_file
from geopurify_ros.data.map_file import MapHeader
from geopurify_ros.data.student_file import student_for
from geopurify_ros.encoders import load_encoder, pick_device
from geopurify_ros.errors import InputError


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


def save_map(pipeline: Pipeline, path: Path | str) -> MapHeader:
    """Write the map of a pipeline that has seen its last frame; whole or not at all.

    Raises:
        InputError: the file cannot be written, or would replace one that is no map.
    """
    pipeline.lifted.settle()
    return map_file.save_map(
        Path(path), pipeline.map, pipeline.encoder.id, pipeline.config.map.frame,
        encoder_dtype=dtype_name(pipeline.encoder),
    )


def open_map(
    path: Path | str, config: Config | None = None, size_is_asked: bool = False
) -> tuple[Pipeline, MapHeader]:
    """A pipeline that goes on with a saved map, not purified yet, and the header of the file.

    A map keeps its own voxel size; another one is refused if somebody asked for it, which the
    default does not.

    Raises:
        InputError: it cannot be read, is empty, or of another encoder or voxel size.
    """
    path, config = Path(path), config or Config()
    size_m = config.map.voxel_size_m
    wanted_m = size_m if size_is_asked or size_m != Config().map.voxel_size_m else None
    known, _ = map_file.load_map(path, voxel_size_m=wanted_m)  # told before the encoder is loaded
    if len(known) == 0:
        raise InputError(f"the map {path} is empty: there is nothing to ask")
    pipeline = new_pipeline(with_values(config, {"map.voxel_size_m": known.voxel_size_m}))
    voxels, header = map_file.load_map(path, pipeline.encoder.id, wanted_m, pipeline.device)
    pipeline.replace_map(voxels)
    return pipeline, header
