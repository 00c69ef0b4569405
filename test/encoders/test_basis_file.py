"""The basis beside an encoder's weights."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from geopurify_ros.core.mapping.encoder import Based
from geopurify_ros.core.purification.basis import checked
from geopurify_ros.encoders import load_encoder
from geopurify_ros.encoders.basis_file import BASIS_KIND, TENSOR, basis_path, read_basis
from geopurify_ros.encoders.builtin import BUILTIN_FILE, BuiltinEncoder
from geopurify_ros.errors import CheckpointError

CPU = torch.device("cpu")


def write(path, encoder="some", vectors=None):
    vectors = torch.eye(8)[:, :3].contiguous() if vectors is None else vectors
    save_file({TENSOR: vectors}, path, {BASIS_KIND: json.dumps({"encoder": encoder})})
    return path


def test_a_basis_lies_beside_the_weights():
    assert basis_path(Path("a/x_encoder.safetensors")) == Path("a/x_basis.safetensors")
    assert basis_path(Path("a/mine.safetensors")) == Path("a/mine_basis.safetensors")


def test_what_is_read_is_what_was_written(tmp_path):
    path = write(tmp_path / "x_basis.safetensors")
    assert torch.equal(read_basis(path, "some", 8), torch.eye(8)[:, :3])
    assert read_basis(tmp_path / "other", "some", 8) is None


def test_a_basis_of_another_encoder_or_a_damaged_one_is_refused(tmp_path):
    path = write(tmp_path / "x_basis.safetensors")
    with pytest.raises(CheckpointError, match="is of encoder some, not other: make it anew"):
        read_basis(path, "other", 8)
    with pytest.raises(CheckpointError, match="is of encoder some"):
        read_basis(path, "some", 16)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_basis(path, "some", 8)
    save_file({TENSOR: torch.eye(8)}, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_basis(path, "some", 8)


def test_builtin_brings_one_that_is_orthonormal():
    encoder = load_encoder("builtin", CPU)
    assert isinstance(encoder, Based)
    basis = checked(encoder.basis, encoder.feature_dim)
    assert basis.shape == (256, 144)


def test_an_encoder_file_without_one_has_none_and_with_a_wrong_one_is_refused(tmp_path):
    path = tmp_path / "mine_encoder.safetensors"
    shutil.copy(BUILTIN_FILE, path)
    assert not isinstance(BuiltinEncoder(CPU, path, torch.float32), Based)
    write(tmp_path / "mine_basis.safetensors", "another")
    with pytest.raises(CheckpointError, match="is of encoder another"):
        BuiltinEncoder(CPU, path, torch.float32)
