"""Purified features of a map, for programs of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geopurify_ros.config import Config
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.core.purification.purified import Purified
from geopurify_ros.data.output_files import check_target
from geopurify_ros.data.tensor_file import SafetensorError, write_tensors
from geopurify_ros.errors import InputError
from geopurify_ros.offline.picture import map_rgb
from geopurify_ros.offline.pipeline import open_map

FEATURES_KIND = "geopurify_features"  # key in the header
_ENDING = ".safetensors"


def export_features(
    path: Path, out: Path, config: Config, size_is_asked: bool = False
) -> dict[str, Any]:
    """Purify a saved map and write positions, colours and features.

    The file holds positions_m (V, 3) float64, rgb (V, 3) uint8, features (V, D) float16 of length
    one in the space of the encoder, and lengths (V,) float32 that pooling had left them; its
    header names the encoder, and with logit_scale what cosines are multiplied by.

    Raises:
        InputError: the map cannot be read or purified, or the file not be written.
    """
    if out.suffix != _ENDING:
        raise InputError(f"{out} does not end in {_ENDING}: features are written as safetensors")
    check_target(out, FEATURES_KIND)
    pipeline, header = open_map(path, config, size_is_asked)
    report = pipeline.purify()
    made = pipeline.result
    if made is None:
        raise InputError("purify.embedding is none: there are no purified features")
    about = {
        "encoder": header.encoder, "encoder_dtype": header.encoder_dtype,
        "feature_dim": header.feature_dim, "logit_scale": pipeline.encoder.logit_scale,
        "voxel_size_m": header.voxel_size_m, "frame": header.frame,
        "num_voxels": header.num_voxels, "rank": report.rank, "declined": made.objection,
    }  # fmt: skip
    try:
        write_tensors(out, _tensors(pipeline, made), FEATURES_KIND, about)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{out} cannot be written: {error}") from error
    return {"map": str(path), "features": str(out), **about}


@torch.inference_mode()
def _tensors(pipeline: Pipeline, made: Purified) -> dict[str, Tensor]:
    shape = (len(made), pipeline.map.feature_dim)
    features = torch.empty(shape, dtype=torch.float16)
    for rows, _ in pipeline.map.feature_chunks():
        features[rows] = normalize(made.features(rows), dim=1).cpu()
    return {
        "positions_m": pipeline.map.centers_m().cpu(),
        "rgb": torch.from_numpy(map_rgb(pipeline)),
        "features": features,
        "lengths": made.lengths.cpu(),
    }
