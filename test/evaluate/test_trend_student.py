"""METHODS T1.22: a student from our own training beats raw, blur and its untrained self.

Two rooms to learn from and another to score on, whose labels an oracle spoils. The student sees
geometry alone and is taught by the geometric teacher.
"""

from __future__ import annotations

import pytest
from oracle_room import map_room

from geopurify_ros.data.student_file import load_student
from geopurify_ros.train.students.scenes import TrainingScene
from geopurify_ros.train.students.student_run import StudentRun, train_student
from geopurify_ros.train.students.teachers.geometric import GeometricTeacher
from geopurify_ros.train.studies.table import (
    BLUR,
    RAW,
    UNTRAINED,
    baselines,
    markdown,
    of_student,
    scene_of,
    summarize,
    table_of,
    untrained_like,
)
from geopurify_ros.train.trainer import Schedule

pytestmark = pytest.mark.slow

RUN = StudentRun(input="geometry", anchors=512, most_voxels=4000,
                 schedule=Schedule(steps=40, warmup=5, base_lr=2e-3))


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    out = tmp_path_factory.mktemp("student")
    scenes = []
    for seed in (20, 21):
        mapped = map_room(seed, color_neutral=seed % 2 == 0)
        scenes.append(TrainingScene(f"room_{seed}", "oracle", scene_of(mapped)))
    train_student(scenes, GeometricTeacher(), RUN, out, out / "teacher")
    net, _ = load_student(out / "student.safetensors")
    candidates = [*baselines(), of_student(UNTRAINED, untrained_like(net, RUN.schedule.seed)),
                  of_student("student", net)]
    rooms = [table_of(map_room(seed, seed % 2 == 0), f"room {seed}", candidates)
             for seed in (30,)]
    return summarize(rooms)


def test_t1_22_a_trained_student_beats_raw_blur_and_an_untrained_one(summary, capsys):
    with capsys.disabled():
        print("\n" + markdown(summary))
    for score in ("miou", "boundary_miou"):
        student = summary["student"][score]
        assert student > summary[RAW][score] + 0.05
        assert student > summary[BLUR][score] + 0.05
        assert student > summary[UNTRAINED][score] + 0.01
