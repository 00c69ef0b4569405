"""Write furnished rooms as labelled sequences: one folder per room.

A room follows from (seed, number) alone, so the number of workers changes nothing, and a second
run makes only what is missing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from geopurify_ros.errors import ConfigError, InputError
from geopurify_ros.train.folder_lock import one_at_a_time
from geopurify_ros.train.rooms.camera import develop, measure_depth, random_intrinsics, random_pose
from geopurify_ros.train.rooms.catalogue import SPLITS, Model, splits_of, usable_models
from geopurify_ros.train.rooms.classes import room_classes
from geopurify_ros.train.rooms.disturb import Shot, disturbed, random_faults
from geopurify_ros.train.rooms.furnish import build_room
from geopurify_ros.train.rooms.pathtrace import PathTracer
from geopurify_ros.train.rooms.render import Camera, render
from geopurify_ros.train.rooms.scene import Scene
from geopurify_ros.train.rooms.variety import DENSE_CLUTTER, USUAL, WIDE, Variety

# Of random numbers. Two share one: their rooms were made before they were told apart.
_STREAM = {"train": 0, "held-out": 1, "validation": 1, "test": 2}
_FAULTS = 1  # what a bad sensor adds has a stream beside that of its room


@dataclass(frozen=True)
class RoomSettings:
    """What to make.

    Attributes:
        num_views: images per room.
        width_px: of an image.
        height_px: of an image.
        seed: of all rooms.
        split: one of `SPLITS`: which models furnish the rooms.
        path_traced: lit by Cycles, about four seconds a view.
        wide: colours, sizes and distances vary far more (train.variety).
        built: furniture built from parts joins that of the catalogue (train.built).
        dense: many more small things (train.variety).
        disturbed: the same views as a bad sensor records them (train.disturb).
    """

    num_views: int = 20
    width_px: int = 320
    height_px: int = 240
    seed: int = 0
    split: str = "train"
    path_traced: bool = False
    wide: bool = False
    built: bool = False
    dense: bool = False
    disturbed: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if self.num_views < 1:
            raise ConfigError(f"views is {self.num_views}, expected 1 or more")
        if min(self.width_px, self.height_px) < 16:
            raise ConfigError(f"an image of {self.width_px}x{self.height_px} pixels is too small")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}, expected 0 or more")
        if self.split not in SPLITS:
            raise ConfigError(f"split is {self.split}, expected one of {', '.join(SPLITS)}")
        if self.built and self.split != "train":
            raise ConfigError("built furniture is for training: the split must be train")


def make_rooms(
    out: Path, num_rooms: int, settings: RoomSettings, num_workers: int = 2
) -> dict[str, Any]:
    """Make the rooms that are not in `out` yet.

    Args:
        out: folder for room_0000, room_0001, ...
        num_rooms: how many there shall be.
        settings: of each.
        num_workers: processes; the result does not depend on it.

    Returns:
        Counts, for --json.

    Raises:
        InputError: furniture or ray caster missing, `out` holds rooms of other settings, or
            another process makes some there.
        ConfigError: a number that makes no sense.
    """
    if num_rooms < 1 or num_workers < 1:
        raise ConfigError(f"num is {num_rooms} and workers {num_workers}, expected 1 or more")
    _check_ready()
    if settings.path_traced:
        num_workers = 1  # Cycles uses every core by itself
    out.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(out):
        _check_same_settings(out, settings)
        missing = [n for n in range(num_rooms) if not room_folder(out, n).exists()]
        jobs = [(out, number, settings) for number in missing]
        for _ in tqdm(_each(jobs, num_workers), total=len(jobs), unit="room", disable=not jobs):
            pass
    return {
        "out": str(out), "rooms": num_rooms, "made": len(missing), "views": settings.num_views,
        "split": settings.split, "models": len(models_of(settings.split)),
        "classes": len(room_classes()),
    }  # fmt: skip


def room_folder(out: Path, number: int) -> Path:
    """Where room `number` is kept."""
    return out / f"room_{number:04d}"


def models_of(split: str) -> list[Model]:
    """The models of a split; reserved ones are in none."""
    return [m for m in usable_models() if split in splits_of(m)]


def make_room(out: Path, number: int, settings: RoomSettings) -> Path:
    """Make one room; it appears under its name only when it is complete."""
    seed = [settings.seed, _STREAM[settings.split], number]
    rng, bad_luck = np.random.default_rng(seed), np.random.default_rng([*seed, _FAULTS])
    variety = _variety_of(settings)
    room = build_room(models_of(settings.split), rng, variety)
    scene = Scene(room.items)
    folder = _new_folder(out / f".tmp_room_{number:04d}")
    size_px = (settings.width_px, settings.height_px)
    intrinsics = random_intrinsics(*size_px, rng)
    _write_intrinsics(folder, intrinsics)
    tracer = None
    if settings.path_traced:
        tracer = PathTracer(scene, room.lights, room.ambient, threads=os.cpu_count() or 1)
    faults = random_faults(bad_luck) if settings.disturbed else None
    class_id = {name: k + 1 for k, name in enumerate(room_classes())}
    labels = np.array([0] + [class_id[item.label] for item in room.items])
    for k in range(settings.num_views):
        pose = random_pose(room, scene, intrinsics, size_px, rng, variety.close)
        camera = Camera(intrinsics, pose, settings.height_px, settings.width_px)
        view = render(scene, camera, room.lights, room.ambient, rng)
        if tracer is not None:
            view = replace(view, light=tracer.render(camera))
        # drawn for bad sensors as well, so that the next view is that of the undisturbed room
        shot = Shot(develop(view, rng), measure_depth(view.depth_m, rng), pose)
        if faults is not None:
            shot = disturbed(shot, view.depth_m, intrinsics, faults, bad_luck)
        _write_view(folder, f"{k:06d}", shot, view.item + 1, labels)
    _write_names(folder, scene, class_id)
    folder.rename(room_folder(out, number))
    return room_folder(out, number)


def _variety_of(settings: RoomSettings) -> Variety:
    variety = replace(WIDE if settings.wide else USUAL, built=settings.built)
    return replace(variety, clutter=DENSE_CLUTTER) if settings.dense else variety


def _new_folder(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("color", "depth", "pose", "intrinsic", "label", "instance"):
        (folder / part).mkdir(parents=True)
    return folder


def _write_intrinsics(folder: Path, intrinsics: NDArray[np.float64]) -> None:
    four = np.eye(4)
    four[:3, :3] = intrinsics
    for name in ("intrinsic_color", "intrinsic_depth"):
        np.savetxt(folder / "intrinsic" / f"{name}.txt", four, fmt="%.6f")


def _write_view(
    folder: Path, name: str, shot: Shot, instance: NDArray[np.int64], labels: NDArray[np.int64]
) -> None:
    (folder / "color" / f"{name}.jpg").write_bytes(shot.jpeg)
    _write_png(folder / "depth" / f"{name}.png", shot.depth_mm)
    np.savetxt(folder / "pose" / f"{name}.txt", shot.T_world_camera, fmt="%.9f")
    _write_png(folder / "label" / f"{name}.png", labels[instance].astype(np.uint8))
    _write_png(folder / "instance" / f"{name}.png", instance.astype(np.uint16))


def _write_names(folder: Path, scene: Scene, class_id: dict[str, int]) -> None:
    present = sorted({item.label for item in scene.items}, key=class_id.__getitem__)
    names = {
        "classes": {str(class_id[label]): label for label in present},
        "instances": {
            str(k + 1): {"name": item.name, "label": item.label}
            for k, item in enumerate(scene.items)
        },
    }
    (folder / "classes.json").write_text(json.dumps(names, indent=1) + "\n")
    credits_ = sorted({item.credit for item in scene.items if item.credit})
    (folder / "models.txt").write_text("".join(line + "\n" for line in credits_))


def _write_png(path: Path, image: NDArray[Any]) -> None:
    Image.fromarray(image).save(path)


def _check_ready() -> None:
    usable_models()  # raises
    try:
        import embreex  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        raise InputError(
            "rendering rooms needs the ray caster embreex: pip install -r requirements-train.txt"
        ) from error


def _check_same_settings(out: Path, settings: RoomSettings) -> None:
    path = out / "rooms.json"
    try:
        is_other = path.exists() and RoomSettings(**json.loads(path.read_text())) != settings
    except (ValueError, TypeError):
        is_other = True
    if is_other:
        raise InputError(
            f"{out} holds rooms of other settings, see its rooms.json: choose another folder"
        )
    path.write_text(json.dumps(vars(settings), indent=1) + "\n")


def _each(jobs: list[tuple[Path, int, RoomSettings]], num_workers: int) -> Iterator[Path]:
    if num_workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield make_room(*job)
        return
    # a fresh interpreter: forking after torch or embree has started threads can hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(num_workers, len(jobs)), mp_context=context) as pool:
        try:
            waiting = [pool.submit(make_room, *job) for job in jobs]
            for done in as_completed(waiting):
                yield done.result()
        except BrokenProcessPool as error:
            raise InputError(
                "a worker was ended from outside, for want of memory perhaps: the finished rooms "
                "are kept, run again with fewer --workers"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
