"""A purification as one would write it first: whole tensors, all channels, no lattice tricks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear, normalize, relu

from geopurify_ros.core.answers.query import TextQuery, VoxelLabels, label_voxels
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.core.purification.affinity import Affinity
from geopurify_ros.core.purification.neighbors import MAX_RADIUS, NeighborGraph, sorted_offsets
from geopurify_ros.core.purification.sparse_conv import kernel_offsets
from geopurify_ros.core.purification.student import StudentNet

_MORE = 64  # candidates beyond K: as many as may be equally far
_ROWS = 2048  # whose distances to all others are looked at together
_NOBODY = 1 << 30
Product = Callable[[Affinity, Tensor], Tensor]  # A F
Taps = list[tuple[Tensor, Tensor]]  # per offset, output rows and the input rows under them


def plain_pass(pipeline: Pipeline, asked: TextQuery, product: Product) -> VoxelLabels:
    """Embed, compare, pool and label all voxels of a map; for a student of features."""
    voxels, settings, student = pipeline.map, pipeline.config.purify, pipeline.student
    assert student is not None
    assert student.shape.input == "features"
    features = voxels.features()
    embeddings = plain_embeddings(student, features, pipeline)
    graph = plain_graph(voxels.coords(), settings.neighbors)
    affinity = plain_affinity(embeddings, graph, settings.affinity_scale)
    pooled = plain_pool(features, voxels.weights(), affinity, settings.iterations, product)
    texts = pipeline.encoder.encode_text(asked.texts)
    logits = pipeline.encoder.logit_scale * normalize(pooled, dim=1) @ texts.T
    return label_voxels(logits, asked)


def plain_embeddings(student: StudentNet, features: Tensor, pipeline: Pipeline) -> Tensor:
    """(V, E') unit: the student layer by layer, each convolution offset by offset."""
    voxels = pipeline.map
    colors, normals, coords = voxels.colors(), voxels.normals(), voxels.coords()
    values = torch.cat((features, colors / 127.5 - 1.0, normals), dim=1)
    taps: Taps = []
    for offset in kernel_offsets(3).to(coords.device):
        near = voxels.index.lookup(coords + offset)
        rows = torch.nonzero(near >= 0).squeeze(1)
        taps.append((rows, near[rows]))
    x = linear((values - student.mean) * student.scale, student.get_parameter("stem.weight"))
    x = relu(student.stem_norm(x))
    for block in student.body.children():
        norms = [block.get_submodule(f"norm_{one}") for one in "ab"]
        weights = [block.get_parameter(f"conv_{one}.weight") for one in "ab"]
        inner = relu(norms[0](_convolved(x, weights[0], taps)))
        x = relu(x + norms[1](_convolved(inner, weights[1], taps)))
    return student.joined(normalize(student.head(x), dim=1), normals, colors)


def _convolved(values: Tensor, weight: Tensor, taps: Taps) -> Tensor:
    out = values.new_zeros((len(values), weight.shape[2]))
    for matrix, (rows, near) in zip(weight, taps, strict=True):
        out.index_add_(0, rows, values[near] @ matrix)
    return out


def plain_graph(coords: Tensor, num_neighbors: int) -> NeighborGraph:  # (V, 3) int64
    """Distances to all others; of those equally far the core's first ones."""
    points = coords.float()
    rank_of = _ranks(coords.device)
    index, mask = [], []
    for rows in torch.split(torch.arange(len(coords), device=coords.device), _ROWS):
        distance = torch.cdist(points[rows], points)
        count = min(num_neighbors + _MORE, len(coords))
        near = distance.topk(count, largest=False).indices
        step = coords[near] - coords[rows, None]
        inside = (step.abs() <= MAX_RADIUS).all(dim=2)
        x, y, z = (step.clamp(-MAX_RADIUS, MAX_RADIUS) + MAX_RADIUS).unbind(dim=2)
        rank = torch.where(inside, rank_of[x, y, z], _NOBODY)
        rank, order = rank.sort(dim=1)
        mask.append(rank[:, :num_neighbors] < _NOBODY)
        found = near.gather(1, order[:, :num_neighbors])
        index.append(torch.where(mask[-1], found, rows[:, None]))
    return NeighborGraph(torch.cat(index), torch.cat(mask))


def _ranks(device: torch.device) -> Tensor:  # (17, 17, 17)
    """The order in which the core looks at offsets; nobody itself and beyond the reach."""
    offsets = sorted_offsets(MAX_RADIUS)
    side = 2 * MAX_RADIUS + 1
    table = torch.full((side, side, side), _NOBODY)
    x, y, z = (offsets + MAX_RADIUS).unbind(dim=1)
    table[x, y, z] = torch.arange(len(offsets))
    return table.to(device)


def plain_affinity(embeddings: Tensor, graph: NeighborGraph, scale: float) -> Affinity:
    """All neighbours gathered in one piece."""
    near = embeddings[graph.index]
    similarity = scale * (near * embeddings[:, None]).sum(dim=2)
    weight = torch.softmax(similarity.masked_fill(~graph.mask, -torch.inf), dim=1)
    alone = ~graph.mask[:, 0]
    weight[alone] = 0.0
    weight[alone, 0] = 1.0
    return Affinity(graph.index, weight)


def plain_pool(
    features: Tensor,  # (V, D)
    pixels: Tensor,  # (V,)
    affinity: Affinity,
    rounds: int,
    product: Product,
) -> Tensor:  # (V, D)
    """All channels, round after round; a voxel weighs as much as was seen of it."""
    weight = pixels[:, None].clamp_min(1.0)
    values = torch.cat((features * weight, weight), dim=1)
    for _ in range(rounds):
        values = product(affinity, values)
    return values[:, :-1] / values[:, -1:]


def gathered(affinity: Affinity, values: Tensor) -> Tensor:  # (V, C) -> (V, C)
    """Neighbours gathered in one piece, weighed and added up."""
    return (values[affinity.index] * affinity.weight[:, :, None]).sum(dim=1)


def sparse(affinity: Affinity, values: Tensor) -> Tensor:  # (V, C) -> (V, C)
    """torch's product of a sparse matrix."""
    number, width = affinity.index.shape
    ends = torch.arange(0, number * width + 1, width, device=values.device)
    matrix = torch.sparse_csr_tensor(
        ends, affinity.index.reshape(-1), affinity.weight.reshape(-1), (number, number),
        check_invariants=False,
    )
    return matrix @ values
