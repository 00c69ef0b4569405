"""`geopurify train student`: from scenes and a teacher to a checkpoint that the node loads."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from geopurify_ros.core.purification.student import (
    PAPER,
    SMALL,
    StudentNet,
    StudentShape,
    num_parameters,
)
from geopurify_ros.data.student_file import ANY_ENCODER, StudentHeader, save_student
from geopurify_ros.errors import ConfigError
from geopurify_ros.train.students.distill import IMPROVED_RULES, PAPER_RULES, PairRules
from geopurify_ros.train.students.scenes import TrainingScene
from geopurify_ros.train.students.student_task import StudentTask, make_units
from geopurify_ros.train.students.teachers.teacher import Teacher, cached_features
from geopurify_ros.train.trainer import Schedule, fit, recent

SHAPES = {"small": SMALL, "paper": PAPER}
SAMPLINGS = {"paper": PAPER_RULES, "improved": IMPROVED_RULES}


@dataclass(frozen=True)
class StudentRun:
    """What is trained.

    Attributes:
        shape: "small" or "paper".
        input: "features" or "geometry".
        sampling: "paper" or "improved".
        schedule: steps, learning rate, seed.
        most_voxels: of the piece of a scene that a step sees.
        anchors: per step, 0 for the paper's.
    """

    shape: str = "small"
    input: str = "features"
    sampling: str = "improved"
    schedule: Schedule = field(default_factory=Schedule)
    most_voxels: int = 16000
    anchors: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        for name, known in (("shape", SHAPES), ("sampling", SAMPLINGS)):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}, expected one of {', '.join(known)}"
                )

    @property
    def architecture(self) -> StudentShape:
        """The network's shape."""
        return dataclasses.replace(SHAPES[self.shape], input=self.input)

    @property
    def rules(self) -> PairRules:
        """How pairs are chosen."""
        rules = SAMPLINGS[self.sampling]
        return dataclasses.replace(rules, anchors=self.anchors) if self.anchors else rules


def train_student(
    scenes: list[TrainingScene], teacher: Teacher, run: StudentRun, out: Path, cache: Path,
    stop_after: int | None = None,
) -> dict[str, Any]:
    """Train, resume where an earlier run in `out` was cut off, and write out/student.safetensors.

    Raises:
        InputError: a scene cannot be learned from, or `out` holds another run.
    """
    start = time.perf_counter()
    first = scenes[0]
    feature_dim = first.voxels.features.shape[1] if run.input == "features" else 0
    encoder = first.encoder if run.input == "features" else ANY_ENCODER
    net = new_student(run, feature_dim).to(first.voxels.coords.device)
    units = make_units(scenes, lambda scene: cached_features(teacher, scene, cache), run.input,
                       run.rules, run.most_voxels, run.schedule.seed)
    seconds = {"pairs": round(time.perf_counter() - start, 1)}
    settings = {
        "teacher": teacher.id, "run": asdict(run), "rules": asdict(run.rules),
        "scenes": [scene.name for scene in scenes], "encoder": encoder,
    }
    start = time.perf_counter()
    history = fit(StudentTask(net, units, run.rules, run.schedule.seed), run.schedule, out,
                  settings, stop_after=stop_after)
    seconds["steps"] = round(time.perf_counter() - start, 1)
    path, metrics = out / "student.safetensors", recent(history)
    if len(history) == run.schedule.steps:
        save_student(path, net, StudentHeader(
            encoder, feature_dim, first.voxels.voxel_size_m, asdict(run.architecture),
            {**asdict(run), "teacher": teacher.id}, {"scenes": settings["scenes"]}, metrics,
        ))
    return {
        "out": str(path), "steps": len(history), "parameters": num_parameters(net),
        "pieces": len(units), "metrics": metrics, "seconds": seconds,
    }


def new_student(run: StudentRun, feature_dim: int) -> StudentNet:
    """The untrained network of a run."""
    shape = run.architecture
    return seeded_student(shape, shape.in_channels(feature_dim), run.schedule.seed)


def seeded_student(shape: StudentShape, in_channels: int, seed: int) -> StudentNet:
    """An untrained network; its weights follow from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return StudentNet(shape, in_channels)
