"""What the commands map, query and eval do; cli.py parses and prints."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geopurify_ros.cameras import Topics
from geopurify_ros.config import Config, with_values
from geopurify_ros.core.answers.palette import label_colors
from geopurify_ros.core.answers.query import (
    VoxelLabels,
    make_query,
    parse_negatives,
    parse_prompts,
    summarize,
)
from geopurify_ros.core.mapping.encoder import unreadable
from geopurify_ros.core.mapping.frame import RgbdFrame
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.data import render
from geopurify_ros.data.export import write_labeled_ply
from geopurify_ros.data.map_file import MAP_KIND, load_map, save_map
from geopurify_ros.data.readers.bag import Bag
from geopurify_ros.data.readers.bag_files import is_bag
from geopurify_ros.data.readers.sequence import Sequence
from geopurify_ros.data.student_file import student_for
from geopurify_ros.data.targets import check_target, save_picture
from geopurify_ros.encoders import load_encoder, pick_device
from geopurify_ros.errors import InputError
from geopurify_ros.evaluate.runner import evaluate, map_sequence
from geopurify_ros.evaluate.verdict import Verdict, by_kind
from geopurify_ros.progress import progress

_PICTURE_PX = 720


def new_pipeline(config: Config) -> Pipeline:
    """A pipeline with the configured encoder on the configured device."""
    device = pick_device(config.encoder.device)
    encoder = load_encoder(config.encoder.name, device)
    student = student_for(config.purify, encoder, config.map.voxel_size_m, device)
    return Pipeline(encoder, config, device, student)


def map_to_file(
    source: Path, out: Path, config: Config, every: int, topics: Topics
) -> dict[str, Any]:
    """Map every `every`-th frame of a sequence folder or bag and save the map.

    Unusable frames are counted; `topics` says which ones of a bag are meant.
    """
    check_target(out, MAP_KIND)
    if is_bag(source):
        with Bag(source, topics, config) as bag:
            frames: Iterator[RgbdFrame] = itertools.islice(bag.frames(), 0, None, every)
            total = -(-bag.num_frames // every)
            return _map_frames(frames, total, bag.refused, source, out, config)
    sequence = Sequence(source, config.camera.depth_unit_m)
    refused = Counter(sequence.refused)
    numbers = range(0, len(sequence), every)
    frames = _readable_frames(sequence, numbers, refused)
    return _map_frames(frames, len(numbers), refused, source, out, config)


def _readable_frames(
    sequence: Sequence, numbers: Iterable[int], refused: Counter[str]
) -> Iterator[RgbdFrame]:
    for number in numbers:
        try:
            yield sequence.frame(number)
        except InputError as error:
            refused[str(error)] += 1


def _map_frames(
    frames: Iterator[RgbdFrame],
    total: int,
    refused: Counter[str],
    source: Path,
    out: Path,
    config: Config,
) -> dict[str, Any]:
    pipeline, verdict = new_pipeline(config), Verdict(config.depth)
    num_frames = 0
    for frame in progress(frames, total, "map", "frame"):
        verdict.read(frame)
        try:
            verdict.used(frame, pipeline.integrate(frame).num_points)
            num_frames += 1
        except InputError as error:
            refused[str(error)] += 1
    if len(pipeline.map) == 0:
        reason = next(iter(by_kind(refused)), "it has none")
        raise InputError(f"no frame of {source} could be used: {reason}{verdict.depth_hint}")
    pipeline.lifted.settle()
    save_map(out, pipeline.map, pipeline.encoder.id, config.map.frame)
    return {
        "map": str(out),
        "encoder": pipeline.encoder.id,
        "num_frames": num_frames,
        "num_refused": sum(refused.values()),
        "refused": dict(refused.most_common(5)),
        "verdict": verdict.report(refused, pipeline.map),
        "num_voxels": len(pipeline.map),
        "bytes": out.stat().st_size,
        "median_ms": pipeline.stopwatch.median_ms(),
    }


def query_file(
    path: Path, text: str, config: Config, out: Path | None, png: Path | None,
    size_is_asked: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Purify a saved map and answer one query; writes a cloud and a picture where asked.

    A map keeps its own voxel size; another one is refused if somebody asked for it, which the
    default does not.
    """
    prompts = parse_prompts(text, config.query.max_prompts)
    negatives = parse_negatives(config.query.negatives)
    size_m = config.map.voxel_size_m
    wanted_m = size_m if size_is_asked or size_m != Config().map.voxel_size_m else None
    known, _ = load_map(path, voxel_size_m=wanted_m)  # told before the encoder is loaded
    if len(known) == 0:
        raise InputError(f"the map {path} is empty: there is nothing to ask")
    for target, kind in ((out, "PLY cloud"), (png, "PNG picture")):
        if target is not None:
            check_target(target, kind)
    pipeline = new_pipeline(with_values(config, {"map.voxel_size_m": known.voxel_size_m}))
    voxels, header = load_map(path, pipeline.encoder.id, wanted_m, pipeline.device)
    pipeline.replace_map(voxels)
    pipeline.purify()
    asked = make_query(prompts, negatives, config.query.threshold)
    answer = pipeline.query(asked)
    found = summarize(asked, answer.purified, pipeline.map.centers_m(), config.query.min_voxels)
    if out is not None:
        _write_cloud(out, pipeline, answer.purified, prompts)
    if png is not None:
        save_picture(picture(pipeline, answer.purified, np.array(pipeline.map.up), prompts), png)
    return {
        "map": str(path),
        "encoder": header.encoder,
        "num_voxels": header.num_voxels,
        "changed_fraction": answer.changed_fraction,
        "purification": {**dataclasses.asdict(answer.effect), "declined": answer.objection},
        "prompts": [
            {"prompt": one.prompt, "found": one.found, "score": one.score,
             "num_voxels": one.num_voxels, "best_position_m": one.best_position_m,
             "unreadable": unreadable(pipeline.encoder, one.prompt)}
            for one in found
        ],
        "out": str(out) if out else None,
        "png": str(png) if png else None,
    }


def _write_cloud(
    out: Path, pipeline: Pipeline, labels: VoxelLabels, prompts: tuple[str, ...]
) -> None:
    label = labels.label.cpu().numpy()
    rgb = label_colors(label, _rgb(pipeline))
    centers = pipeline.map.centers_m().cpu().numpy().astype(np.float32)
    write_labeled_ply(out, centers, rgb, label, labels.score.cpu().numpy(), prompts)


def _rgb(pipeline: Pipeline) -> NDArray[np.uint8]:
    return np.asarray(pipeline.map.colors().round().clamp(0, 255).byte().cpu())


def picture(
    pipeline: Pipeline,
    labels: VoxelLabels,
    up: NDArray[np.float64],  # (3,)
    prompts: tuple[str, ...],
) -> Image.Image:
    """The map from above, in its own colours and in those of the labels."""
    centers = pipeline.map.centers_m().cpu().numpy()
    low = render.below_ceiling(centers, up)
    view = render.birds_eye(centers[low], up, _PICTURE_PX)
    rgb = _rgb(pipeline)
    colored = label_colors(labels.label.cpu().numpy(), rgb)
    panels = [
        render.with_title(
            render.render_points(centers[low], colors[low], view, pipeline.map.voxel_size_m), title
        )
        for title, colors in (("map", rgb), ("labels", colored))
    ]
    return render.side_by_side([panels], prompts)


def evaluate_sequence(folder: Path, config: Config, every: int) -> dict[str, Any]:
    """Map and score a labelled sequence."""
    sequence = Sequence(folder, config.camera.depth_unit_m)
    mapped = map_sequence(sequence, new_pipeline(config), every)
    return evaluate(mapped, folder.resolve().name)


def format_scores(result: dict[str, Any]) -> str:
    """The scores as a table."""
    columns = ("miou", "macc", "f_miou", "boundary_miou")
    lines = [
        "{sequence}: {num_voxels} voxels of {voxel_size_m} m, encoder {encoder} in "
        "{encoder_dtype}".format(**result),
        f"{'':10}" + "".join(f"{c:>15}" for c in columns),
    ]
    for name in ("raw", "blur", "purified"):
        lines.append(f"{name:10}" + "".join(f"{result[name][c]:15.3f}" for c in columns))
    for name, iou in result["purified"]["per_class"].items():
        lines.append(f"  {name:20} IoU raw {result['raw']['per_class'][name]:.3f} "
                     f"purified {iou:.3f}")
    return "\n".join(lines)
