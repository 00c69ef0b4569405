"""Affinity against its definition, voxel by voxel (METHODS 1.9)."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from geopurify_ros.core.purification import affinity as module
from geopurify_ros.core.purification.affinity import affinity_weights
from geopurify_ros.core.purification.neighbors import nearest_neighbors
from geopurify_ros.core.purification.sparse_conv import index_of

SCALE = 40.0


def cloud(count=300, extent=10, seed=0):
    generator = torch.Generator().manual_seed(seed)
    every = torch.cartesian_prod(*3 * (torch.arange(extent),))
    coords = every[torch.randperm(len(every), generator=generator)[:count]]
    return torch.cat((coords, torch.tensor([[99, 0, 0], [0, 0, 300]])))  # two are alone


def embeddings_for(coords, width=19, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn((len(coords), width), generator=generator).double(), dim=1)


def naive(embeddings, graph, rows):
    """Weights of some voxels, one product and one exponential at a time."""
    out = torch.zeros((len(rows), graph.index.shape[1]), dtype=torch.float64)
    for place, row in enumerate(rows):
        near = [int(j) for j, real in zip(graph.index[row], graph.mask[row], strict=True) if real]
        likeness = [math.exp(SCALE * float(embeddings[row] @ embeddings[j])) for j in near]
        for k, value in enumerate(likeness):
            out[place, k] = value / sum(likeness)
        if not near:
            out[place, 0] = 1.0
    return out


@pytest.mark.parametrize("at_once", [7, 8192])
@pytest.mark.parametrize(("dtype", "error"), [
    (torch.float64, 1e-12), (torch.float32, 2e-5), (torch.float16, 2e-5)])
def test_weights_are_a_softmax_of_likeness(dtype, error, at_once, monkeypatch):
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", at_once)
    coords = cloud()
    embeddings = embeddings_for(coords).to(dtype)  # half precision is exact where it is read
    graph = nearest_neighbors(index_of(coords), coords, 12)
    found = affinity_weights(embeddings, graph, SCALE)
    expected = naive(embeddings.double(), graph, range(len(coords)))
    assert found.weight.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(found.weight.double(), expected, rtol=0, atol=error)
    assert torch.equal(found.index, graph.index)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_some_rows_come_out_as_those_of_all(dtype):
    coords = cloud()
    index, embeddings = index_of(coords), embeddings_for(coords).to(dtype)
    whole = affinity_weights(embeddings, nearest_neighbors(index, coords, 12), SCALE)
    rows = torch.tensor([301, 5, 200, 7, 300])
    some = affinity_weights(embeddings, nearest_neighbors(index, coords, 12, rows), SCALE, rows)
    assert torch.equal(some.index, whole.index[rows])
    assert torch.equal(some.weight, whole.weight[rows])


def test_fewer_voxels_than_neighbours_are_weighed_all_the_same():
    coords = cloud()[:5]
    embeddings = embeddings_for(coords)
    graph = nearest_neighbors(index_of(coords), coords, 12)
    found = affinity_weights(embeddings, graph, SCALE)
    expected = naive(embeddings, graph, range(5))
    torch.testing.assert_close(found.weight, expected, rtol=0, atol=1e-12)


def test_no_rows_have_no_weights():
    coords, rows = cloud(), torch.zeros(0, dtype=torch.int64)
    graph = nearest_neighbors(index_of(coords), coords, 12, rows)
    assert affinity_weights(embeddings_for(coords), graph, SCALE, rows).weight.shape == (0, 12)
