"""Questions to a map: by text, to a pipeline or to a map file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geopurify_ros.config import Config
from geopurify_ros.core.answers.answer import Answer
from geopurify_ros.core.answers.palette import label_colors
from geopurify_ros.core.answers.query import (
    TextQuery,
    VoxelLabels,
    make_query,
    parse_negatives,
    parse_prompts,
)
from geopurify_ros.core.answers.summary import PromptAnswer, summarize
from geopurify_ros.core.mapping.encoder import unreadable
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.data.export import write_labeled_ply
from geopurify_ros.data.output_files import check_target, save_picture
from geopurify_ros.offline.picture import map_rgb, picture
from geopurify_ros.offline.pipeline import open_map


@dataclass(frozen=True)
class Found:
    """What a map says of a question.

    Attributes:
        answer: label and score of every voxel.
        prompts: one entry per prompt, in order.
    """

    answer: Answer
    prompts: list[PromptAnswer]


def ask(pipeline: Pipeline, text: str) -> Found:
    """What a map holds of "chair, table"; purify it before.

    Raises:
        InputError: the text is no query.
    """
    settings = pipeline.config.query
    prompts = parse_prompts(text, settings.max_prompts)
    asked = make_query(
        prompts, parse_negatives(settings.negatives), settings.threshold, settings.min_voxels
    )
    return found_by(pipeline, asked, with_raw=True)


def found_by(pipeline: Pipeline, asked: TextQuery, with_raw: bool = False) -> Found:
    """What a map holds of a query that is made already."""
    answer = pipeline.query(asked, with_raw)
    voxels = pipeline.map
    found = summarize(asked, answer.purified, voxels.coords(), voxels.voxel_size_m)
    return Found(answer, found)


def query_file(
    path: Path, text: str, config: Config, out: Path | None, png: Path | None,
    size_is_asked: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Purify a saved map and answer one query; writes a cloud and a picture where asked."""
    prompts = parse_prompts(text, config.query.max_prompts)  # told before the map is read
    parse_negatives(config.query.negatives)
    for target, kind in ((out, "PLY cloud"), (png, "PNG picture")):
        if target is not None:
            check_target(target, kind)
    pipeline, header = open_map(path, config, size_is_asked)
    pipeline.purify()
    found = ask(pipeline, text)
    answer = found.answer
    if out is not None:
        _write_cloud(out, pipeline, answer.purified, prompts)
    if png is not None:
        up = np.array(pipeline.map.up)
        absent = frozenset(one.prompt for one in found.prompts if not one.found)
        save_picture(picture(pipeline, answer.purified, up, prompts, absent), png)
    return {
        "map": str(path),
        "encoder": header.encoder,
        "encoder_dtype": header.encoder_dtype,  # of the map: a query encodes no image
        "num_voxels": header.num_voxels,
        "changed_fraction": answer.changed_fraction,
        "purification": {**dataclasses.asdict(answer.effect), "declined": answer.objection},
        "prompts": [
            {**vars(one), "unreadable": unreadable(pipeline.encoder, one.prompt)}
            for one in found.prompts
        ],
        "out": str(out) if out else None,
        "png": str(png) if png else None,
    }


def _write_cloud(
    out: Path, pipeline: Pipeline, labels: VoxelLabels, prompts: tuple[str, ...]
) -> None:
    label = labels.label.cpu().numpy()
    rgb = label_colors(label, map_rgb(pipeline))
    centers = pipeline.map.centers_m().cpu().numpy().astype(np.float32)
    write_labeled_ply(out, centers, rgb, label, labels.score.cpu().numpy(), prompts)
