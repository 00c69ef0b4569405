"""Sequence folders as people have them: other names, text forms, sizes and pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from sequence_writer import K, write_sequence

from geopurify_ros.data.messages.arrays import matrix_from_pose
from geopurify_ros.data.readers.sequence import Sequence
from geopurify_ros.errors import InputError

POSE = matrix_from_pose((1.5, -2.0, 0.25), (0.5, -0.1, 0.7, 0.5))
NAMES = ("000008", "000009", "000010")


def rows(matrix, separator=" ", end="\n", tail=""):
    return "".join(separator.join(f"{v:.9f}" for v in row) + tail + end for row in matrix)


POSE_TEXTS = {
    "plain": rows(POSE).encode(),
    "byte order mark": b"\xef\xbb\xbf" + rows(POSE).encode(),
    "utf-16": rows(POSE).encode("utf-16"),
    "Windows": rows(POSE, end="\r\n").encode(),
    "commas": rows(POSE, ",").encode(),
    "commas and blanks": rows(POSE, ", ").encode(),
    "commas at the ends": rows(POSE, ",", tail=",").encode(),
    "semicolons": rows(POSE, ";").encode(),
    "tabs": (rows(POSE, "\t", tail=" \t") + "\n\n").encode(),
    "brackets": str(POSE.tolist()).encode(),
    "brackets in rows": str(POSE.round(9)).encode(),
    "one row": " ".join(f"{v:.9f}" for v in POSE.reshape(-1)).encode(),
    "one column": "\n".join(f"{v:.9f}" for v in POSE.reshape(-1)).encode(),
    "3x4": rows(POSE[:3]).encode(),
    "3x4 in one row": ",".join(f"{v:.9f}" for v in POSE[:3].reshape(-1)).encode(),
    "comment": b"# camera to world\n" + rows(POSE).encode(),
    "exponents": "\n".join(" ".join(f"{v:.12e}" for v in row) for row in POSE).encode(),
}


@pytest.mark.parametrize("form", list(POSE_TEXTS))
def test_poses_in_every_form_of_text(tmp_path, form):
    folder = write_sequence(tmp_path / "room")
    (folder / "pose" / "000000.txt").write_bytes(POSE_TEXTS[form])
    np.testing.assert_allclose(Sequence(folder).frame(0).T_world_camera, POSE, atol=1e-6)


@pytest.mark.parametrize(("text", "reason"), [
    (b"1.5 -2 0.25 0.5 -0.1 0.7 0.5", "matrix of 1x7 numbers, expected 4x4 or 3x4"),
    (rows(POSE[:3].T).encode(), "matrix of 4x3 numbers"),
    (rows(POSE.T).encode(), "is the matrix transposed"),
    (b"\n".join([b"-1.#IND 1.#QNAN -1.#IND 1.#INF"] * 4), "the pose is not finite"),
    (b"\x00\x05\x16\x07\xff\xfe", "cannot be read as a matrix"),
    (rows(np.zeros((4, 4))).encode(), "last row of the pose"),
    (rows(POSE * 1.1).encode(), "last row of the pose"),
    (b"one two three four", "cannot be read as a matrix"),
])
def test_what_is_no_pose_is_refused_with_its_name(tmp_path, text, reason):
    folder = write_sequence(tmp_path / "room", names=("7",))
    (folder / "pose" / "7.txt").write_bytes(text)
    with pytest.raises(InputError, match=rf"usable pose: .*{reason}.*\(pose/7\.txt\)"):
        Sequence(folder)


def renamed(folder, **patterns):
    """Files of each part after a pattern like "frame-{:06d}.color.png"."""
    for part, pattern in patterns.items():
        for path in sorted((folder / part).iterdir()):
            path.rename(folder / part / pattern.format(int(path.stem)))
    return folder


@pytest.mark.parametrize("patterns", [
    {"color": "{:06d}.PNG"}, {"depth": "{:06d}.Png", "pose": "{:06d}.TXT"},
    {"pose": "{}.txt"}, {"color": "{}.png", "depth": "{:04d}.png"},
    {"color": "frame-{:06d}.color.png", "depth": "frame-{:06d}.depth.png",
     "pose": "frame-{:06d}.pose.txt"},
    {"color": "frame{:06d}.png", "depth": "depth{:06d}.png", "pose": "pose{}.txt"},
    {"color": "cam0_{:04d}_v2.png"},
])
def test_names_that_differ_are_paired_by_their_one_number(tmp_path, patterns):
    folder = renamed(write_sequence(tmp_path / "room", NAMES), **patterns)
    sequence = Sequence(folder)
    assert len(sequence) == 3
    for number in range(3):
        frame = sequence.frame(number)
        assert frame.T_world_camera[0, 3] == number
        assert frame.rgb[0, 0, 0] == number
        assert frame.depth_m[0, 0] == np.float32(1 + number / 1000)
    if len(patterns) < 3:  # the labels have the old names
        assert np.unique(sequence.label(2)).tolist() == [3]


@pytest.mark.parametrize("ending", ["JPG", "jpeg", "JPEG"])
def test_photographs_by_any_ending(tmp_path, ending):
    folder = write_sequence(tmp_path / "room")
    for path in list((folder / "color").iterdir()):
        Image.open(path).save(path.with_suffix(f".{ending}"), "JPEG")
        path.unlink()
    assert len(Sequence(folder)) == 2


def test_files_of_the_system_are_no_frames(tmp_path):
    folder = write_sequence(tmp_path / "room")
    for path in [p for part in ("color", "depth", "pose") for p in (folder / part).iterdir()]:
        (path.parent / f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
    assert len(Sequence(folder)) == 2


def test_what_does_not_pair_is_shown(tmp_path):
    """Stamps of two cameras: whatever would be paired by number would be a guess."""
    folder = write_sequence(tmp_path / "room")
    for part, stamps in (("color", ("10.25", "11.50")), ("depth", ("10.31", "11.56")),
                         ("pose", ("10.25", "11.50"))):
        for path, stamp in zip(sorted((folder / part).iterdir()), stamps, strict=True):
            path.rename(folder / part / f"{stamp}{path.suffix}")
    with pytest.raises(InputError, match=(
        r"names do not pair \(color/10\.25\.png, depth/10\.31\.png, pose/10\.25\.txt\)"
    )):
        Sequence(folder)


def test_an_empty_part_is_named(tmp_path):
    folder = write_sequence(tmp_path / "room")
    for path in (folder / "depth").iterdir():
        path.rename(path.with_suffix(".exr"))
    with pytest.raises(InputError, match=r"no \.png or \.tif or \.tiff file in depth/"):
        Sequence(folder)


@pytest.mark.parametrize("text", [
    rows(K[:3, :3]), rows(K[:3]), rows(K), rows(K[:3, :3], ","), str(K[:3, :3].tolist()),
    "\ufeff" + rows(K[:3, :3], ";")], ids=["3x3", "3x4", "4x4", "commas", "brackets", "mark"])
def test_intrinsics_in_every_form_of_text(tmp_path, text):
    folder = write_sequence(tmp_path / "room")
    for name in ("color", "depth"):
        (folder / "intrinsic" / f"intrinsic_{name}.txt").write_text(text)
    np.testing.assert_allclose(Sequence(folder).frame(0).intrinsics, K[:3, :3])


@pytest.mark.parametrize(("matrix", "reason"), [
    (K[:3, :3].T, "third row of the camera matrix is 31.5 23.5 1, not 0 0 1: is it transposed"),
    (np.eye(3), "fx = 1, fy = 1 would be a field of view of 176 x 175 degrees in an image of 64"),
    (np.zeros((4, 4)), "is the camera calibrated"),
    (np.array([[40, 5, 31.5], [0, 40, 23.5], [0, 0, 1.0]]), "skewed by 5"),
    (K * [[4], [4], [1], [1]], r"principal point \(126, 94\) is outside the image of 64 x 48 "
     "pixels, or at its edge: the camera matrix seems to be that of images of about 252 x 188"),
    (K * [[2], [2], [1], [1]], r"principal point \(63, 47\) is outside the image of 64 x 48 "
     "pixels, or at its edge"),
])
@pytest.mark.parametrize("name", ["color", "depth"])
def test_a_matrix_of_other_images_is_refused(tmp_path, name, matrix, reason):
    folder = write_sequence(tmp_path / "room")
    np.savetxt(folder / "intrinsic" / f"intrinsic_{name}.txt", matrix)
    with pytest.raises(InputError, match=f"intrinsic_{name}.txt .*{reason}"):
        Sequence(folder)


@pytest.mark.parametrize(("scale_of_colour", "size"), [(1.0, (128, 96)), (1.4, (64, 48))])
def test_views_that_do_not_agree_are_refused_with_both_sizes(tmp_path, scale_of_colour, size):
    """One matrix for two sizes, and a matrix of a size between."""
    color_k = K * [[scale_of_colour], [scale_of_colour], [1], [1]]
    folder = write_sequence(tmp_path / "room", color_size=size, color_k=color_k)
    with pytest.raises(InputError, match=(
        rf"colour of {size[0]} x {size[1]} pixels .* and depth of 64 x 48 .*do not look the same"
    )):
        Sequence(folder)


def test_a_missing_matrix_is_named_beside_what_is_there(tmp_path):
    folder = write_sequence(tmp_path / "room")
    (folder / "intrinsic" / "intrinsic_color.txt").unlink()
    with pytest.raises(InputError, match=(
        r"intrinsic_color.txt is missing \(intrinsic/ has intrinsic_depth.txt\): copy"
    )):
        Sequence(folder)


def test_grey_colour_of_16_bits_is_scaled(tmp_path):
    folder = write_sequence(tmp_path / "room")
    grey = np.linspace(0, 65535, 48 * 64).astype(np.uint16).reshape(48, 64)
    Image.fromarray(grey).save(folder / "color" / "000000.png")
    rgb = Sequence(folder).frame(0).rgb
    np.testing.assert_array_equal(rgb, np.repeat((grey >> 8)[..., None], 3, axis=2))


@pytest.mark.parametrize("mode", ["RGBA", "L", "P"])
def test_colour_with_alpha_grey_or_a_palette(tmp_path, mode):
    folder = write_sequence(tmp_path / "room")
    Image.new("RGB", (64, 48), (102, 102, 102)).convert(mode).save(folder / "color" / "000000.png")
    assert np.abs(Sequence(folder).frame(0).rgb.astype(int) - 102).max() <= 1


@pytest.mark.parametrize(("mode", "kind"), [
    ("L", "8 bits"), ("P", "a palette of colours"), ("RGBA", "4 channels"), ("1", "1 bit")])
def test_depth_without_its_numbers_is_refused(tmp_path, mode, kind):
    folder = write_sequence(tmp_path / "room")
    Image.new("L", (64, 48), 90).convert(mode).save(folder / "depth" / "000000.png")
    with pytest.raises(InputError, match=f"is no depth image: it has {kind}, expected 16-bit"):
        Sequence(folder).frame(0)


@pytest.mark.parametrize(("factor", "unit_m"), [(5.0, 0.0002), (6.5535, 1 / 6553.5), (0.1, 0.01)])
def test_depth_in_another_unit(tmp_path, factor, unit_m):
    folder = write_sequence(tmp_path / "room")
    depth = np.full((48, 64), round(2000 * factor), np.uint16)
    Image.fromarray(depth).save(folder / "depth" / "000000.png")
    found = Sequence(folder, unit_m).frame(0).depth_m
    np.testing.assert_allclose(found, 2.0, rtol=1e-4)


def test_metres_in_tiff_and_millimetres_in_it_are_told_apart(tmp_path):
    folder = write_sequence(tmp_path / "room", names=("0",))
    (folder / "depth" / "0.png").unlink()
    path = folder / "depth" / "0.tiff"
    Image.fromarray(np.full((48, 64), 1.25, np.float32)).save(path)
    assert np.unique(Sequence(folder).frame(0).depth_m).tolist() == [1.25]
    Image.fromarray(np.full((48, 64), 1250, np.float32)).save(path)
    with pytest.raises(InputError, match=r"0\.tiff: half of the depth is beyond 1250 m"):
        Sequence(folder).frame(0)
    assert np.unique(Sequence(folder, 0.001).frame(0).depth_m).tolist() == [1.25]
