"""The map's index: coordinates to rows, whatever their sign and distance."""

import torch

from geopurify_ros.core.mapping.block_index import (
    BLOCK_CELLS,
    MAX_VOXEL_COORD,
    BlockIndex,
    block_key,
    cell_of,
    relative_key,
)


def new_index(coords):
    index = BlockIndex(torch.device("cpu"))
    index.insert(torch.tensor(coords))
    return index


def random_coords(count, low, high, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.unique(torch.randint(low, high, (count, 3), generator=generator), dim=0)


def test_block_keys_are_in_lexicographic_order():
    coords = torch.tensor([[-3, 5, 0], [-2, -9, 7], [-2, 0, -1], [-2, 0, 0], [4, -1, -1]])
    assert (torch.diff(block_key(coords)) > 0).all()


def test_cells_number_the_voxels_of_a_block_also_below_zero():
    assert cell_of(torch.tensor([[0, 0, 0], [7, 7, 7], [8, 0, 1], [-1, -8, -7]])).tolist() == [
        0, BLOCK_CELLS - 1, 1, 7 * 64 + 0 * 8 + 1]


def test_rows_are_given_out_in_order_and_stay():
    index = BlockIndex(torch.device("cpu"))
    assert index.insert(torch.tensor([[5, 5, 5], [-1, 0, 0]]))[0].tolist() == [0, 1]
    rows, num_new = index.insert(torch.tensor([[100, 0, 0], [5, 5, 5], [-1, 0, 1]]))
    assert (rows.tolist(), num_new) == ([2, 0, 3], 2)
    assert index.lookup(torch.tensor([[-1, 0, 0], [100, 0, 0]])).tolist() == [1, 2]


def test_unknown_voxels_have_row_minus_one():
    index = new_index([[0, 0, 0]])
    # in the same block, in another one, in one that shares no coordinate sign
    assert index.lookup(torch.tensor([[0, 0, 1], [8, 0, 0], [-1, -1, -1]])).tolist() == [-1] * 3
    assert BlockIndex(torch.device("cpu")).lookup(torch.tensor([[0, 0, 0]])).tolist() == [-1]


def test_index_equals_a_dictionary_over_many_insertions():
    index, plain = BlockIndex(torch.device("cpu")), {}
    for seed in range(6):
        coords = random_coords(700, -40, 40, seed)
        rows, num_new = index.insert(coords)
        before = len(plain)
        expected = [plain.setdefault(tuple(c), len(plain)) for c in coords.tolist()]
        assert rows.tolist() == expected
        assert num_new == len(plain) - before
    assert index.num_rows == len(plain)
    asked = random_coords(3000, -45, 45, seed=9)
    assert index.lookup(asked).tolist() == [plain.get(tuple(c), -1) for c in asked.tolist()]


def test_corners_of_the_reachable_space_are_told_apart():
    edge = MAX_VOXEL_COORD - 8  # whole blocks: the cell alone must not tell them apart
    corners = torch.cartesian_prod(*[torch.tensor([-edge, 0, edge])] * 3)
    index = new_index(corners.tolist())
    assert index.lookup(corners).tolist() == list(range(27))


def test_inserting_nothing_changes_nothing():
    index = new_index([[1, 2, 3]])
    rows, num_new = index.insert(torch.zeros((0, 3), dtype=torch.int64))
    assert (len(rows), num_new, index.num_rows, index.num_blocks) == (0, 0, 1, 1)


def test_relative_keys_tell_all_voxels_of_a_wide_map_apart():
    """More than 2^20 from the origin, where absolute keys of voxels run into each other."""
    coords = torch.cartesian_prod(*[torch.tensor([-1, 0, (1 << 21) - 3])] * 3) + (5 << 20)
    keys = relative_key(coords)
    assert torch.equal(keys, keys.sort().values)  # as they are: lexicographic
    assert len(keys.unique()) == len(coords)
    assert len(block_key(coords).unique()) < len(coords)
    assert relative_key(coords[:0]).tolist() == []
