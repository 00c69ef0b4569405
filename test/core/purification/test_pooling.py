"""T1.1 to T1.4: affinity and pooling against a dense matrix in float64."""

import pytest
import torch
from torch.nn.functional import normalize

from geopurify_ros.core.mapping.block_index import BlockIndex
from geopurify_ros.core.purification.affinity import affinity_weights, row_entropies
from geopurify_ros.core.purification.neighbors import NeighborGraph, nearest_neighbors
from geopurify_ros.core.purification.pooling import pool
from geopurify_ros.errors import InputError

DEVICES = ["cpu", pytest.param("cuda", marks=[
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
])]
SCALE = 20.0


def cloud(count, seed=0, side=8):
    """(N, 3) voxels, (N, 8) float64 embeddings of unit norm."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randperm(side**3, generator=generator)[:count]
    coords = torch.stack((cells // side**2, cells // side % side, cells % side), dim=1)
    embeddings = torch.randn((count, 8), generator=generator, dtype=torch.float64)
    return coords, normalize(embeddings, dim=1)


def graph_of(coords, num_neighbors):
    index = BlockIndex(coords.device)
    index.insert(coords)
    return nearest_neighbors(index, coords, num_neighbors)


def dense_affinity(coords, embeddings, num_neighbors, scale=SCALE):
    """(N, N): soft-max over the nearest voxels, written as the paper does."""
    matrix = torch.zeros((len(coords), len(coords)), dtype=torch.float64)
    for i in range(len(coords)):
        offset = [tuple(o) for o in (coords - coords[i]).tolist()]
        # by distance; an offset comes beside its opposite
        order = sorted((sum(x * x for x in o), min(o, tuple(-x for x in o)), o, j)
                       for j, o in enumerate(offset))
        near = [j for *_, j in order[1 : num_neighbors + 1]]
        logits = scale * (embeddings[near] @ embeddings[i])
        matrix[i, near] = torch.exp(logits - logits.max()) / torch.exp(logits - logits.max()).sum()
    return matrix


def to_dense(affinity):
    count = len(affinity)
    matrix = torch.zeros((count, count), dtype=affinity.weight.dtype)
    return matrix.scatter_add_(1, affinity.index.long().cpu(), affinity.weight.cpu())


def features(count, channels, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((count, channels), generator=generator, dtype=torch.float64)


def test_t1_1_rows_of_affinity_sum_to_one():
    coords, embeddings = cloud(300)
    graph = graph_of(coords, 32)
    affinity = affinity_weights(embeddings, graph, SCALE)
    assert (affinity.weight.sum(dim=1) - 1).abs().max() <= 1e-6
    assert (affinity.weight[graph.mask] > 0).all()
    assert (to_dense(affinity).diagonal() == 0).all()


def test_t1_1_affinity_equals_the_dense_one():
    coords, embeddings = cloud(200)
    affinity = affinity_weights(embeddings, graph_of(coords, 16), SCALE)
    torch.testing.assert_close(
        to_dense(affinity), dense_affinity(coords, embeddings, 16), rtol=0, atol=1e-12)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_t1_1_small_maps_use_the_neighbors_there_are(count):
    coords, embeddings = cloud(count, side=3)
    matrix = to_dense(affinity_weights(embeddings, graph_of(coords, 32), SCALE))
    assert ((matrix > 0).sum(dim=1) == count - 1).all()
    assert (matrix.diagonal() == 0).all()
    assert (matrix.sum(dim=1) - 1).abs().max() <= 1e-6


def test_t1_1_a_voxel_without_neighbors_keeps_its_value():
    coords = torch.tensor([[0, 0, 0], [100, 0, 0], [101, 0, 0]])
    embeddings = cloud(3)[1]
    affinity = affinity_weights(embeddings, graph_of(coords, 4), SCALE)
    assert to_dense(affinity).tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize("iterations", [1, 19])
def test_t1_2_pooling_equals_powers_of_the_dense_matrix(iterations):
    coords, embeddings = cloud(400)
    values = features(400, 12)
    pooled = pool(values, affinity_weights(embeddings, graph_of(coords, 32), SCALE), iterations)
    dense = dense_affinity(coords, embeddings, 32)
    expected = torch.linalg.matrix_power(dense, iterations) @ values
    assert (pooled - expected).abs().max() <= 1e-10


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("iterations", [1, 19])
def test_t1_2_float32_pooling_is_within_1e_4(iterations, device):
    coords, embeddings = cloud(400)
    values = features(400, 12)
    graph = graph_of(coords.to(device), 32)
    affinity = affinity_weights(embeddings.float().to(device), graph, SCALE)
    pooled = pool(values.float().to(device), affinity, iterations).cpu().double()
    dense = dense_affinity(coords, embeddings, 32)
    expected = torch.linalg.matrix_power(dense, iterations) @ values
    assert (pooled - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_t1_3_a_constant_is_a_fixed_point():
    coords, embeddings = cloud(300)
    affinity = affinity_weights(embeddings, graph_of(coords, 32), SCALE)
    constant = torch.full((300, 3), 0.7, dtype=torch.float64)
    assert (pool(constant, affinity, 19) - 0.7).abs().max() <= 1e-12


def test_t1_3_pooled_values_stay_between_the_extremes():
    coords, embeddings = cloud(300)
    affinity = affinity_weights(embeddings, graph_of(coords, 32), SCALE)
    before = features(300, 5)
    for _ in range(19):
        after = pool(before, affinity, 1)
        assert (after.amax(dim=0) <= before.amax(dim=0) + 1e-12).all()
        assert (after.amin(dim=0) >= before.amin(dim=0) - 1e-12).all()
        before = after


def test_t1_4_pooled_scores_are_scores_of_pooled_features():
    coords, embeddings = cloud(400)
    affinity = affinity_weights(embeddings, graph_of(coords, 32), SCALE)
    values, text = features(400, 64), features(7, 64, seed=2)
    feature_space = pool(values, affinity, 19) @ text.T
    text_space = pool(values @ text.T, affinity, 19)
    assert (feature_space - text_space).abs().max() <= 1e-10


def test_t1_4_labels_of_both_spaces_agree_in_float32():
    generator = torch.Generator().manual_seed(3)
    side = torch.arange(100)
    coords = torch.cartesian_prod(side, side, torch.tensor([0]))  # 10,000 voxels of a floor
    embeddings = normalize(torch.randn((10_000, 8), generator=generator), dim=1)
    affinity = affinity_weights(embeddings, graph_of(coords, 32), SCALE)
    values, text = features(10_000, 64).float(), features(7, 64, seed=2).float()
    feature_space = (pool(values, affinity, 19) @ text.T).argmax(dim=1)
    text_space = pool(values @ text.T, affinity, 19).argmax(dim=1)
    assert (feature_space == text_space).float().mean() >= 0.9999


def test_no_round_of_pooling_changes_nothing():
    coords, embeddings = cloud(50)
    values = features(50, 4)
    affinity = affinity_weights(embeddings, graph_of(coords, 8), SCALE)
    assert torch.equal(pool(values, affinity, 0), values)


def test_scale_zero_is_the_plain_mean_of_the_neighbors():
    coords, embeddings = cloud(50)
    values = features(50, 4)
    graph = graph_of(coords, 8)
    pooled = pool(values, affinity_weights(embeddings, graph, 0.0), 1)
    torch.testing.assert_close(pooled, values[graph.index].mean(dim=1), rtol=0, atol=1e-12)


def test_values_do_not_wander_along_a_plane():
    """Pooled coordinates are where a value comes from: on an even floor, from around itself."""
    side = torch.arange(-55, 56)
    floor = torch.cartesian_prod(side, side, torch.tensor([2]))
    affinity = affinity_weights(torch.ones(len(floor), 1), graph_of(floor, 32), SCALE)
    origin = pool(floor.double(), affinity, 40)
    center = len(floor) // 2
    assert floor[center].tolist() == [0, 0, 2]
    assert (origin[center] - floor[center]).abs().max() < 1e-3


def test_the_order_of_the_voxels_does_not_matter():
    coords, embeddings = cloud(200)
    values = features(200, 4)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(4))

    def pooled(rows):
        affinity = affinity_weights(embeddings[rows], graph_of(coords[rows], 16), SCALE)
        return pool(values[rows], affinity, 5)

    torch.testing.assert_close(
        pooled(order), pooled(torch.arange(200))[order], rtol=0, atol=1e-12)


def test_row_entropy_is_one_for_a_blur_and_zero_for_a_copy():
    coords, embeddings = cloud(400)
    graph = graph_of(coords, 8)
    for scale, expected in ((0.0, 1.0), (1e6, 0.0)):
        entropies = row_entropies(affinity_weights(embeddings, graph, scale))
        torch.testing.assert_close(
            entropies, torch.full_like(entropies, expected), rtol=0, atol=1e-6)


def test_entropy_of_nothing_is_zero():
    nothing = NeighborGraph(torch.zeros((0, 4), dtype=torch.int64),
                            torch.zeros((0, 4), dtype=torch.bool))
    assert len(row_entropies(affinity_weights(torch.zeros((0, 8)), nothing, SCALE))) == 0


def test_wrong_shapes_are_refused():
    coords, embeddings = cloud(20)
    graph = graph_of(coords, 4)
    with pytest.raises(InputError, match=r"embeddings has shape \(19, 8\)"):
        affinity_weights(embeddings[:19], graph, SCALE)
    with pytest.raises(InputError, match="values to pool"):
        pool(torch.zeros(19, 2), affinity_weights(embeddings, graph, SCALE), 1)
