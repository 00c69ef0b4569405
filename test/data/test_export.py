"""PLY files, read back by a plain reader."""

import numpy as np
import pytest

from geopurify_ros.data.export import write_labeled_ply
from geopurify_ros.errors import InputError

NUMPY_TYPE = {"float": "<f4", "uchar": "u1", "uint": "<u4"}


def read_ply(path):
    """(structured array, comments), straight from the format's description."""
    header, _, body = path.read_bytes().partition(b"end_header\n")
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    comments = [line.removeprefix("comment ") for line in lines if line.startswith("comment ")]
    count = next(int(line.split()[2]) for line in lines if line.startswith("element vertex"))
    properties = [line.split()[1:] for line in lines if line.startswith("property")]
    vertices = np.frombuffer(body, dtype=[(name, NUMPY_TYPE[kind]) for kind, name in properties])
    assert len(vertices) == count
    return vertices, comments


def write_cloud(path, prompts=("chair",), count=5):
    rng = np.random.default_rng(0)
    cloud = (
        rng.normal(size=(count, 3)).astype(np.float32),
        rng.integers(0, 256, (count, 3), dtype=np.uint8),
        rng.integers(0, len(prompts) + 1, count),
        rng.random(count, dtype=np.float32),
    )
    write_labeled_ply(path, *cloud, prompts)
    return cloud


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_a_cloud_is_read_back_as_it_was_written(tmp_path, count):
    path = tmp_path / "cloud.ply"
    points, rgb, label, score = write_cloud(path, count=count)
    vertices, _ = read_ply(path)
    assert vertices.dtype.names == ("x", "y", "z", "red", "green", "blue", "label", "score")
    assert np.array_equal(np.stack([vertices[n] for n in "xyz"], axis=1), points)
    assert np.array_equal(np.stack([vertices[n] for n in ("red", "green", "blue")], axis=1), rgb)
    assert np.array_equal(vertices["label"], label)
    assert np.array_equal(vertices["score"], score)


def test_comments_name_the_labels_in_ascii(tmp_path):
    path = tmp_path / "cloud.ply"
    write_cloud(path, prompts=("coffee table", "стул"))
    assert read_ply(path)[1] == ["label 0 not there", "label 1 coffee table", "label 2 ????"]


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(InputError, match=r"nowhere/cloud.ply cannot be written: No such file"):
        write_cloud(tmp_path / "nowhere" / "cloud.ply")
