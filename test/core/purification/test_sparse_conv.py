"""Sparse convolution against dense ones (METHODS T1.9), its gradient, and its tables."""

import pytest
import torch
from torch.nn.functional import conv3d

from geopurify_ros.core.purification import sparse_conv as module
from geopurify_ros.core.purification.sparse_conv import (
    SparseConv3d,
    index_of,
    kernel_offsets,
    sparse_conv,
    strided_map,
    submanifold_map,
)
from geopurify_ros.errors import InputError

DEVICES = ["cpu", pytest.param("cuda", marks=[
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
])]


def random_coords(count=60, extent=6, seed=0, shift=-3):
    generator = torch.Generator().manual_seed(seed)
    every = torch.cartesian_prod(*3 * (torch.arange(extent),))
    return every[torch.randperm(len(every), generator=generator)[:count]] + shift


def table_of(coords):
    return submanifold_map(index_of(coords), coords)


def loop_reference(values, weight, coords):
    """out[i] = sum over offsets of values at coords[i] + offset, one voxel at a time."""
    row = {tuple(c): i for i, c in enumerate(coords.tolist())}
    out = torch.zeros((len(coords), weight.shape[2]), dtype=values.dtype)
    for i, here in enumerate(coords):
        for k, offset in enumerate(kernel_offsets(3)):
            j = row.get(tuple((here + offset).tolist()))
            if j is not None:
                out[i] += values[j] @ weight[k]
    return out


@pytest.mark.parametrize("device", DEVICES)
def test_t1_9_sparse_convolution_equals_the_dense_one_on_a_filled_cube(device):
    coords = torch.cartesian_prod(*3 * (torch.arange(8),)) - 4
    values, weight = torch.randn(512, 5), torch.randn(27, 5, 7)
    dense = conv3d(values.T.reshape(1, 5, 8, 8, 8),
                   weight.permute(2, 1, 0).reshape(7, 5, 3, 3, 3), padding=1)
    found = sparse_conv(values.to(device), weight.to(device), table_of(coords.to(device)))
    assert (found.cpu() - dense.reshape(7, 512).T).abs().max() < 1e-4


def test_t1_9_sparse_convolution_equals_a_loop_over_voxels_and_chunks_change_nothing(monkeypatch):
    coords = random_coords(100)
    values, weight = torch.randn(100, 4, dtype=torch.float64), torch.randn(27, 4, 3).double()
    found = sparse_conv(values, weight, table_of(coords))
    assert torch.allclose(found, loop_reference(values, weight, coords), atol=1e-12)
    monkeypatch.setattr(module, "_CPU_CHUNK", 1)  # 32 rows at a time
    assert torch.allclose(sparse_conv(values, weight, table_of(coords)), found, atol=1e-12)


def test_t1_9_strided_convolution_and_its_transpose_equal_the_dense_ones():
    coords = torch.cartesian_prod(*3 * (torch.arange(4),))
    values, weight = torch.randn(64, 3).double(), torch.randn(8, 3, 5).double()
    cells, table = strided_map(coords)
    assert cells.tolist() == torch.cartesian_prod(*3 * (torch.arange(2),)).tolist()
    kernel = weight.permute(2, 1, 0).reshape(5, 3, 2, 2, 2)
    dense = conv3d(values.T.reshape(1, 3, 4, 4, 4), kernel, stride=2)
    found = sparse_conv(values, weight, table)
    assert torch.allclose(found, dense.reshape(5, 8).T, atol=1e-12)
    back = torch.nn.functional.conv_transpose3d(dense, kernel, stride=2)
    up = sparse_conv(found, weight.transpose(1, 2), table.transposed)
    assert torch.allclose(up, back.reshape(3, 64).T, atol=1e-12)


@pytest.mark.parametrize("kind", ["submanifold", "strided", "transposed"])
def test_t1_9_gradients_are_right(kind):
    coords = random_coords(30)
    _, table = (None, table_of(coords)) if kind == "submanifold" else strided_map(coords)
    table = table.transposed if kind == "transposed" else table
    generator = torch.Generator().manual_seed(0)
    values = torch.randn((len(table.reverse), 3), generator=generator).double().requires_grad_()
    taps = table.taps.shape[1]
    weight = torch.randn((taps, 3, 2), generator=generator).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v, w: sparse_conv(v, w, table), (values, weight))


def test_t1_9_the_order_of_voxels_and_whole_shifts_change_nothing():
    coords, values = random_coords(80), torch.randn(80, 4).double()
    conv = SparseConv3d(4, 6).double()
    expected = conv(values, table_of(coords))
    order = torch.randperm(80)
    assert torch.allclose(conv(values[order], table_of(coords[order])), expected[order])
    shift = torch.tensor([1000, -77, 13])
    assert torch.equal(conv(values, table_of(coords + shift)), expected)


def test_values_of_another_width_or_map_are_refused():
    table = table_of(random_coords(10))
    for shape in ((10, 3), (9, 4)):
        with pytest.raises(InputError, match="values to convolve has shape"):
            SparseConv3d(4, 6)(torch.zeros(shape), table)


def test_an_empty_map_has_an_empty_result():
    coords = torch.zeros((0, 3), dtype=torch.int64)
    assert SparseConv3d(4, 6)(torch.zeros((0, 4)), table_of(coords)).shape == (0, 6)


@pytest.mark.parametrize("far", [0, 3 << 20, -(7 << 20)])
def test_cells_do_not_depend_on_where_the_map_lies(far):
    """157 km from the origin at 5 cm, and farther: an even way, as cells are of two voxels."""
    coords = random_coords()
    here, taps = module.strided_map(coords)
    there, moved = module.strided_map(coords + far)
    assert torch.equal(there, here + far // 2)
    assert torch.equal(moved.taps, taps.taps)
