"""Data efficiency: students from ever more scenes, scored on rooms they have not seen."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from geopurify_ros.data.output_files import save_picture
from geopurify_ros.data.student_file import load_student
from geopurify_ros.errors import ConfigError
from geopurify_ros.evaluate.runner import Mapped
from geopurify_ros.train.students.scenes import TrainingScene
from geopurify_ros.train.students.student_run import StudentRun, train_student
from geopurify_ros.train.students.teachers.teacher import Teacher
from geopurify_ros.train.studies.table import RAW, SOFT, baselines, of_student, summarize, table_of


def data_efficiency(
    scenes: list[TrainingScene], rooms: list[tuple[str, Mapped]], teacher: Teacher,
    run: StudentRun, sizes: list[int], num_seeds: int, out: Path, cache: Path,
) -> dict[str, Any]:
    """Mean mIoU of students from the first 5, 10, ... scenes, `num_seeds` each; a curve as PNG.

    Raises:
        ConfigError: more scenes are asked for than there are.
    """
    if max(sizes) > len(scenes):
        raise ConfigError(f"{max(sizes)} scenes are asked for, there are {len(scenes)}")
    points: list[dict[str, Any]] = []
    known: dict[str, Any] = {}
    for size in sizes:
        for seed in range(num_seeds):
            schedule = dataclasses.replace(run.schedule, seed=seed)
            one = dataclasses.replace(run, schedule=schedule)
            folder = out / f"scenes_{size}_seed_{seed}"
            train_student(scenes[:size], teacher, one, folder, cache)
            net, _ = load_student(folder / "student.safetensors")
            candidates = [of_student("student", net)] + ([] if known else baselines())
            found = summarize([table_of(mapped, name, candidates) for name, mapped in rooms])
            known = known or {name: found[name]["miou"] for name in (RAW, SOFT)}
            points.append({"scenes": size, "seed": seed, **found["student"]})
    draw_efficiency(points, known, out / "efficiency.png")
    return {"points": points, "baselines": known}


def draw_efficiency(
    points: list[dict[str, Any]], levels: dict[str, float], path: Path
) -> None:
    """mIoU over the number of scenes: a dot per seed, a line through the means."""
    size, left, top, right, bottom = (560, 360), 60, 20, 540, 320
    picture = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)
    values = [p["miou"] for p in points] + list(levels.values())
    low, high = min(values) - 0.02, max(values) + 0.02
    most = max(p["scenes"] for p in points)

    def place(scenes: float, miou: float) -> tuple[float, float]:
        return (left + (right - left) * scenes / most,
                bottom - (bottom - top) * (miou - low) / (high - low))

    pen.rectangle((left, top, right, bottom), outline="#c8c8c8")
    for name, level in levels.items():
        pen.line([place(0, level), place(most, level)], fill="#a0a0a0")
        pen.text((left + 4, place(0, level)[1] - 12), f"{name} {level:.3f}", fill="#606060")
    line = []
    for scenes in sorted({p["scenes"] for p in points}):
        found = [p["miou"] for p in points if p["scenes"] == scenes]
        line.append(place(scenes, sum(found) / len(found)))
        pen.text((line[-1][0] - 6, bottom + 4), str(scenes), fill="black")
        for miou in found:
            x, y = place(scenes, miou)
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill="#1e50c8")
    pen.line(line, fill="#1e50c8", width=2)
    pen.text((left, bottom + 20), "mIoU over the number of training scenes", fill="black")
    save_picture(picture, path)
