"""Sequence folders in ScanNet's export layout, as real exporters write them."""

import numpy as np
import pytest
from PIL import Image
from sequence_writer import K, write_sequence

from geopurify_ros.data.messages.arrays import matrix_from_pose
from geopurify_ros.data.readers.sequence import Sequence
from geopurify_ros.errors import InputError


def test_a_frame_holds_what_the_files_say(tmp_path):
    sequence = Sequence(write_sequence(tmp_path / "room"))
    assert len(sequence) == 2
    frame = sequence.frame(1)
    assert frame.rgb.shape == (48, 64, 3)
    assert np.unique(frame.rgb[..., 0]).tolist() == [1]
    assert frame.depth_m.dtype == np.float32
    assert np.unique(frame.depth_m).tolist() == [np.float32(1.001)]
    assert frame.T_world_camera[:3, 3].tolist() == [1, 0, 0]
    assert np.array_equal(frame.intrinsics, K[:3, :3])
    assert frame.stamp_ns > sequence.frame(0).stamp_ns


def test_missing_depth_is_nan(tmp_path):
    folder = write_sequence(tmp_path / "room")
    depth = np.full((48, 64), 2500, dtype=np.uint16)
    depth[0, :3] = (0, 65535, 65001)  # none, and what Kinect exports write for none
    Image.fromarray(depth).save(folder / "depth" / "000000.png")
    found = Sequence(folder).frame(0).depth_m
    assert np.isnan(found[0, :3]).all()
    assert np.isnan(found).sum() == 3
    assert found[1, 0] == 2.5


def test_frames_come_in_the_order_of_their_numbers(tmp_path):
    sequence = Sequence(write_sequence(tmp_path / "room", names=("0", "2", "10")))
    assert [sequence.frame(i).T_world_camera[0, 3] for i in range(3)] == [0, 1, 2]


def test_frames_with_lost_or_broken_poses_are_left_out(tmp_path, caplog):
    folder = write_sequence(tmp_path / "room", names=("0", "1", "2", "3", "4"))
    np.savetxt(folder / "pose" / "0.txt", np.full((4, 4), -np.inf))
    (folder / "pose" / "1.txt").write_text("")
    (folder / "pose" / "2.txt").write_text("1 0 0 0\n0 1 0\n")
    sequence = Sequence(folder)
    assert [sequence.frame(i).T_world_camera[0, 3] for i in range(len(sequence))] == [3, 4]
    assert "3 frames have no usable pose" in caplog.text


def test_frames_need_colour_depth_and_pose(tmp_path):
    folder = write_sequence(tmp_path / "room", names=("0", "1", "2", "3"))
    (folder / "color" / "0.png").unlink()
    (folder / "depth" / "1.png").unlink()
    (folder / "pose" / "2.txt").unlink()
    assert Sequence(folder).frame(0).T_world_camera[0, 3] == 3


@pytest.mark.parametrize("part", ["color", "depth", "pose", "intrinsic"])
def test_a_folder_that_lacks_a_part_is_refused(tmp_path, part):
    folder = write_sequence(tmp_path / "room")
    (folder / part).rename(folder / "elsewhere")
    with pytest.raises(InputError, match=f"is not a sequence: it has no folder {part}/"):
        Sequence(folder)


def test_a_sequence_without_one_usable_frame_is_refused(tmp_path):
    folder = write_sequence(tmp_path / "room", names=("0",))
    np.savetxt(folder / "pose" / "0.txt", np.full((4, 4), np.nan))
    with pytest.raises(InputError, match="depth and a usable pose: the pose is not finite"):
        Sequence(folder)


def test_transposed_poses_are_refused_with_the_reason(tmp_path):
    folder = write_sequence(tmp_path / "room", names=("1",))
    transposed = matrix_from_pose((1.0, 2.0, 3.0), (0.0, 0.0, 0.6, 0.8)).T
    np.savetxt(folder / "pose" / "1.txt", transposed)
    with pytest.raises(InputError, match=r"last row of the pose is not 0 0 0 1.*transposed"):
        Sequence(folder)


def test_poses_with_few_digits_are_rotations_again(tmp_path):
    folder = write_sequence(tmp_path / "room", names=("0", "1", "2"))
    exact = matrix_from_pose((1.0, 2.0, 3.0), (0.5, -0.1, 0.7, 0.5))
    for number, digits in enumerate((2, 3, 6)):
        np.savetxt(folder / "pose" / f"{number}.txt", exact.round(digits))
    sequence = Sequence(folder)
    for number in range(3):
        pose = sequence.frame(number).T_world_camera
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-3)
        np.testing.assert_allclose(pose, exact, atol=0.01)


@pytest.mark.parametrize("part", ["color", "depth"])
@pytest.mark.parametrize("keep", [0, 30, 0.7])
def test_damaged_images_are_refused_by_name(tmp_path, part, keep):
    folder = write_sequence(tmp_path / "room")
    path = folder / part / "000000.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64), np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: keep if keep != 0.7 else int(0.7 * len(content))])
    sequence = Sequence(folder)
    with pytest.raises(InputError, match=f"{part}/000000.png cannot be read as an image"):
        sequence.frame(0)
    assert sequence.frame(1).stamp_ns > 0  # the others are still there


def test_a_colour_image_among_the_depth_images_is_refused(tmp_path):
    folder = write_sequence(tmp_path / "room")
    Image.new("RGB", (64, 48)).save(folder / "depth" / "000000.png")
    with pytest.raises(InputError, match="is no depth image: it has 3 channels"):
        Sequence(folder).frame(0)


@pytest.mark.parametrize("content", ["", "1 2 3", "a b c d\n" * 4, "1 2 3\n" * 3])
def test_intrinsics_that_are_no_4x4_matrix_are_refused(tmp_path, content):
    folder = write_sequence(tmp_path / "room")
    (folder / "intrinsic" / "intrinsic_depth.txt").write_text(content)
    with pytest.raises(InputError, match=r"intrinsic_depth.txt .*matrix"):
        Sequence(folder)


def test_labels_and_classes(tmp_path):
    sequence = Sequence(write_sequence(tmp_path / "room"))
    assert sequence.has_labels
    assert list(sequence.class_names.items()) == [(3, "chair"), (10, "lamp")]  # by id
    assert np.unique(sequence.label(0)).tolist() == [3]
    Image.new("RGB", (64, 48)).save(sequence.folder / "label" / "000000.png")
    with pytest.raises(InputError, match=r"label/000000.png is no label image"):
        sequence.label(0)
    Image.new("L", (32, 24)).save(sequence.folder / "label" / "000000.png")
    with pytest.raises(InputError, match=r"label/000000.png has size \(24, 32\)"):
        sequence.label(0)
    (sequence.folder / "label" / "000001.png").unlink()
    with pytest.raises(InputError, match=r"label/000001.png cannot be read"):
        sequence.label(1)


def test_ground_truth_is_optional(tmp_path):
    folder = write_sequence(tmp_path / "room")
    (folder / "classes.json").unlink()
    assert not Sequence(folder).has_labels


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"classes": ["chair"]}',
                                     '{"classes": {"chair": "1"}}'])
def test_classes_of_another_form_are_refused(tmp_path, content):
    folder = write_sequence(tmp_path / "room")
    (folder / "classes.json").write_text(content)
    with pytest.raises(InputError, match=r"classes.json is not of the form"):
        Sequence(folder)


def test_a_larger_registered_colour_image_is_averaged_down(tmp_path):
    """Twice the size, twice the focal length: each depth pixel is the mean of four.

    Pillow rounds once per direction: half a step for rows and half a step for columns.
    """
    color_k = np.diag([2.0, 2.0, 1.0, 1.0]) @ K
    folder = write_sequence(tmp_path / "room", color_size=(128, 96), color_k=color_k)
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(image).save(folder / "color" / "000000.png")
    expected = image.reshape(48, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(Sequence(folder).frame(0).rgb - expected).max() <= 1.0


def test_another_field_of_view_is_brought_onto_the_depth_pixels(tmp_path):
    """u_color = fx_color / fx_depth (u - cx_depth) + cx_color, read off a colour ramp."""
    color_k = np.array([[60.0, 0, 70.0, 0], [0, 50.0, 40.0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    folder = write_sequence(tmp_path / "room", color_size=(128, 96), color_k=color_k)
    v, u = np.mgrid[:96, :128]
    ramp = np.stack((2 * u, 2 * v, 0 * u), axis=-1).astype(np.uint8)
    Image.fromarray(ramp).save(folder / "color" / "000000.png")
    v, u = np.mgrid[:48, :64]
    expected_u = 60 / 40 * (u - 31.5) + 70
    expected_v = 50 / 40 * (v - 23.5) + 40
    rgb = Sequence(folder).frame(0).rgb.astype(float)
    inside = (expected_u > 0) & (expected_u < 127) & (expected_v > 0) & (expected_v < 95)
    assert inside.mean() > 0.8
    assert np.abs(rgb[..., 0] / 2 - expected_u)[inside].max() <= 0.5
    assert np.abs(rgb[..., 1] / 2 - expected_v)[inside].max() <= 0.5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_labels_of_the_size_of_the_colour_image_are_picked_never_mixed(tmp_path, dtype):
    """ScanNet's labels come in the size of its colour images, twice that of the depth."""
    color_k = K * [[2], [2], [1], [1]]
    folder = write_sequence(tmp_path / "room", color_size=(128, 96), color_k=color_k)
    sequence = Sequence(folder)
    large = np.full((96, 128), 3, dtype)
    large[:, 64:] = 10
    Image.fromarray(large).save(sequence.folder / "label" / "000000.png")
    label = sequence.label(0)
    assert label.shape == (48, 64)
    assert np.unique(label).tolist() == [3, 10]
    assert (label[:, :32] == 3).all()
    assert (label[:, 32:] == 10).all()
