"""A student from your own recordings, without labels: 04_own_student.py OUT STEPS RECORDING..."""

import sys
from pathlib import Path

import geopurify_ros as gp
from geopurify_ros.encoders import load_encoder, pick_device
from geopurify_ros.train.students.scenes import load_scenes, make_scenes
from geopurify_ros.train.students.student_run import StudentRun, train_student
from geopurify_ros.train.students.teachers.lifted import LiftedTeacher
from geopurify_ros.train.trainer import Schedule


def main(out: Path, steps: int, recordings: list[Path]) -> None:
    """Map them, let their smoothed features and local shape teach, and write the student.

    The shipped one saw twenty rooms for 1800 steps; an interrupted run goes on.
    """
    config, device = gp.Config(), pick_device("auto")
    encoder = load_encoder(config.encoder.name, device)
    make_scenes(recordings, out / "scenes", encoder, config, device)
    run = StudentRun(schedule=Schedule(steps=steps, warmup=max(1, steps // 50), base_lr=3e-3),
                     most_voxels=8000, anchors=1024)  # fmt: skip
    scenes = load_scenes(out / "scenes", None, device)
    result = train_student(scenes, LiftedTeacher(), run, out, out / "teacher")
    print(f"loss {result['metrics']['loss']:.3f}; use it with: geopurify query MAP PROMPTS "
          f"--set purify.student={result['out']}")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), int(sys.argv[2]), [Path(path) for path in sys.argv[3:]])
