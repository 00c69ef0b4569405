"""Each example runs as its reader would run it, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from ros_harness import running

import geopurify_ros

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[1] / "examples"
SAMPLE = Path(geopurify_ros.__file__).parent / "assets" / "sample_room"


def run(name, *arguments, folder):
    program = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def part_of_the_sample(folder, names):
    """A few of its frames as a recording of their own."""
    for part, ending in (("color", "jpg"), ("depth", "png"), ("pose", "txt")):
        (folder / part).mkdir(parents=True)
        files = sorted((SAMPLE / part).glob(f"*.{ending}"))
        for path in files[names]:
            (folder / part / path.name).symlink_to(path)
    (folder / "intrinsic").symlink_to(SAMPLE / "intrinsic")
    return folder


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_it_is_short_and_says_what_it_shows(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 35
    assert lines[0].startswith('"""')


def test_00_maps_and_asks_and_05_reads_the_map_without_the_package(tmp_path):
    recording = part_of_the_sample(tmp_path / "room", slice(0, None, 5))
    said = run("00_map_and_ask.py", recording, "sofa, plant", folder=tmp_path)
    assert re.search(r"^sofa: -?\d+\.\d\d .* m, \d{3,} voxels$", said, re.M), said
    assert "plant: " in said

    program = (EXAMPLES / "05_read_map.py").read_text()
    assert "geopurify_ros" not in program
    said = run("05_read_map.py", tmp_path / "room.safetensors", folder=tmp_path)
    assert re.search(r"^\d{5} voxels of 0.05 m in 'map', features of 256 channels", said), said


def test_01_maps_with_an_encoder_of_ones_own(tmp_path):
    said = dict(re.findall(r"(\w+): (\d+) voxels", run("01_own_encoder.py", folder=tmp_path)))
    assert int(said["brown"]) > 1000
    assert int(said["red"]) < 100 < int(said["green"])  # nothing in the room is red


def test_02_purifies_numpy_arrays(tmp_path):
    said = run("02_purify_points.py", folder=tmp_path)
    raw, purified = (float(share) for share in re.findall(r"([\d.]+)% right", said))
    assert raw < 70
    assert purified > 95

    rng = np.random.default_rng(0)
    arrays = {"points": rng.uniform(0, 1, (50, 3)), "values": rng.normal(size=(50, 4)),
              "colors": np.full((50, 3), 99), "normals": np.tile((0, 0, 1.0), (50, 1))}
    np.savez(tmp_path / "points.npz", **arrays)
    run("02_purify_points.py", tmp_path / "points.npz", folder=tmp_path)
    assert np.load(tmp_path / "purified.npy").shape == (50, 4)


def test_03_hears_results_and_clouds(tmp_path):
    wanted = (r"red: at \S+ \S+ \S+ m, 0\.\d\d m high", "green: not there",
              r"[1-9]\d* of \d+ voxels are labelled")
    with running() as harness:
        harness.fuse()
        said, environment = [], {**os.environ, "ROS_DOMAIN_ID": str(harness.domain)}
        listener = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "03_listen.py")], cwd=tmp_path, env=environment,
            text=True, stdout=subprocess.PIPE)
        reader = threading.Thread(target=lambda: said.extend(iter(listener.stdout.readline, "")))
        reader.start()

        def has_heard():
            """Asked again: who has just come may miss the first answer."""
            harness.ask("red, green")
            return all(any(re.match(one, line) for line in said) for one in wanted)

        try:
            harness.wait(has_heard, f"a listener that hears; it said {said}", pause_s=0.5)
        finally:
            listener.kill()
            listener.wait()
            reader.join()


def test_04_trains_a_student_that_queries_use(tmp_path):
    recording = part_of_the_sample(tmp_path / "room", slice(0, None, 10))
    said = run("04_own_student.py", tmp_path / "out", 2, recording, folder=tmp_path)
    assert "--set purify.student=" in said
    assert (tmp_path / "out" / "student.safetensors").is_file()
