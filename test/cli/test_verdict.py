"""`geopurify map` ends with what it made of a recording, and says what is absurd in it."""

from __future__ import annotations

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from ros_harness import ColorEncoder

from geopurify_ros.cli import main
from geopurify_ros.cli.options import sample_room
from geopurify_ros.evaluate.verdict import by_kind
from geopurify_ros.offline import pipeline as offline

pytestmark = pytest.mark.slow

NUMBERS = range(0, 12)
KEYS = {"frames_used", "frames_refused", "refused_by_reason", "depth_believed",
        "voxels_without_color", "overlap", "warnings"}


@pytest.fixture(autouse=True)
def _plain_encoder(monkeypatch):
    monkeypatch.setattr(offline, "load_encoder", lambda *_: ColorEncoder())


@pytest.fixture
def room(tmp_path):
    """Some frames of the sample room, to be changed."""
    folder = tmp_path / "room"
    for part in ("color", "depth", "pose"):
        (folder / part).mkdir(parents=True)
        files = sorted((sample_room() / part).iterdir())
        for number in NUMBERS:
            shutil.copy(files[number], folder / part)
    shutil.copytree(sample_room() / "intrinsic", folder / "intrinsic")
    return folder


def mapped(folder, *options):
    """The verdict in JSON, and what is said on stderr without the progress bar."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["map", str(folder), "--out", str(folder.parent / "m"), "--json", *options])
    said = [line for line in err.getvalue().replace("\r", "\n").splitlines()
            if line.startswith(("verdict", "refused", "WARNING", "geopurify"))]
    return (json.loads(out.getvalue().splitlines()[-1])["verdict"] if code == 0 else None), said


def with_poses(folder, change):
    for path in (folder / "pose").iterdir():
        np.savetxt(path, change(np.loadtxt(path)))


def with_depth(folder, change, numbers=NUMBERS):
    for path in [sorted((folder / "depth").iterdir())[n] for n in numbers]:
        Image.fromarray(change(np.asarray(Image.open(path)))).save(path)


def test_a_good_recording(room):
    verdict, said = mapped(room)
    assert verdict.keys() == KEYS
    assert (verdict["frames_used"], verdict["frames_refused"]) == (12, 0)
    assert verdict["refused_by_reason"] == {}
    assert verdict["depth_believed"] > 0.9
    assert verdict["voxels_without_color"] < 0.05
    assert verdict["overlap"] > 0.5
    assert verdict["warnings"] == []
    (line,) = said
    assert line.startswith("verdict: 12 of 12 frames used, 9")
    assert "of a frame seen by the one before" in line


@pytest.mark.parametrize("step", [5, 6, 7, 8, 9, 11])
def test_frames_far_apart_are_no_fault(room, step):
    """Then nothing can be said of the poses, and nothing is."""
    for part in ("color", "depth", "pose"):
        for path in [p for i, p in enumerate(sorted((room / part).iterdir())) if i % step]:
            path.unlink()
    verdict, (line,) = mapped(room)
    assert verdict["overlap"] < 0.05
    assert verdict["warnings"] == []
    assert "too far apart to judge the poses by" in line


GL = np.diag([1.0, -1, -1, 1])
BODY = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(("change", "words"), [
    (np.linalg.inv, "seem to be world-to-camera: read so"),
    (lambda T: T @ GL, "seem to be camera-to-world in OpenGL axes"),
    (lambda T: np.linalg.inv(T @ GL), "seem to be world-to-camera in OpenGL axes"),
    (lambda T: T @ np.linalg.inv(BODY), "seem to be those of a body"),
    (lambda T: T * np.array([1, 1, 1, 1000.0]) ** np.eye(4)[3], "seem to be in millimetres"),
], ids=["inverse", "OpenGL", "both", "body", "millimetres"])
def test_poses_of_another_convention_are_known_by_the_overlap(room, change, words):
    good = mapped(room)[0]["overlap"]
    with_poses(room, lambda T: np.vstack((change(T)[:3], [0, 0, 0, 1])))
    verdict, said = mapped(room)
    assert verdict["overlap"] < good / 2
    (warning,) = verdict["warnings"]
    assert words in warning
    assert "poses must be camera-to-world of the optical frame" in warning
    assert said[-1] == f"WARNING: {warning}"


def test_poses_of_other_frames_are_known_too(room):
    """Whatever is wrong with them: the images show that the camera hardly moved."""
    rng = np.random.default_rng(0)

    def random_pose(T):
        q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        T[:3, :3] = q * np.linalg.det(q)
        return T

    with_poses(room, random_pose)
    (warning,) = mapped(room)[0]["warnings"]
    assert "the poses do not fit the images" in warning


@pytest.mark.parametrize(("factor", "unit"), [(5.0, "1/5000"), (10.0, "0.0001"), (0.1, "0.01")])
def test_depth_in_another_unit_is_loud_and_can_be_given(room, factor, unit):
    good = mapped(room)[0]
    with_depth(room, lambda d: (d * factor).clip(0, 65535).astype(np.uint16))
    verdict, said = mapped(room)
    if verdict is None:  # not one pixel left
        assert "no depth between 0.2 and 5.0 m" in said[-1]
        assert "give that with --depth-unit" in said[-1]
    else:
        assert any("--depth-unit" in warning for warning in verdict["warnings"])
    again, said = mapped(room, "--depth-unit", unit)
    assert again["warnings"] == []
    assert abs(again["depth_believed"] - good["depth_believed"]) < 0.01


def test_refused_frames_are_said_and_loudly_above_a_share(room):
    with_depth(room, lambda d: d * 0, [1, 2])
    verdict, said = mapped(room)
    reason = "no depth between 0.2 and 5.0 m in the image"
    assert verdict["refused_by_reason"] == {reason: 2}
    assert (verdict["frames_used"], verdict["frames_refused"]) == (10, 2)
    assert said[1] == f"refused: 2 x {reason}"
    assert verdict["warnings"] == []
    with_depth(room, lambda d: d * 0, range(3, 7))
    np.savetxt(room / "pose" / "000007.txt", np.full((4, 4), -np.inf))
    verdict, said = mapped(room)
    assert verdict["frames_refused"] == 7
    assert sum(verdict["refused_by_reason"].values()) == 7
    assert "the pose is not finite (pose/000007.txt)" in verdict["refused_by_reason"]
    assert verdict["warnings"] == [
        f"7 of 12 frames were refused, most of them because: {reason}"]


def test_a_black_map_is_absurd(room):
    for path in (room / "color").iterdir():
        image = np.asarray(Image.open(path)).copy()
        image[:, :200] = 0
        Image.fromarray(image).save(path)
    verdict, _ = mapped(room)
    assert verdict["voxels_without_color"] > 0.3
    assert any("voxels are black" in warning for warning in verdict["warnings"])


def test_reasons_of_one_kind_are_one():
    refused = {"a/depth/01.png has 8 bits": 2, "a/depth/02.png has 8 bits": 1, "empty": 4}
    assert by_kind(refused) == {"empty": 4, "a/depth/01.png has 8 bits": 3}
