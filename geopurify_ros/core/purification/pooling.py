"""Geometry-guided pooling (GeoPurify, METHODS 1.9): features diffuse along similar neighbours.

F <- A F, T times, where A is a row-stochastic affinity between neighbouring voxels. Everything is
linear in F, so class scores can be pooled in place of features (METHODS 1.15a): L prompts instead
of D channels, with the same arg-max.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geopurify_ros.core.mapping.scatter import bag_sum
from geopurify_ros.core.purification.affinity import Affinity
from geopurify_ros.errors import expect_shape


def pool(
    values: Tensor,  # (V, C)
    affinity: Affinity,
    iterations: int,
) -> Tensor:  # (V, C)
    """A applied to F `iterations` times: rounds of averaging over neighbours.

    C is D for purified features, or a few channels of text scores.
    """
    expect_shape(values, (len(affinity), None), "values to pool")
    columns = affinity.index.reshape(-1)
    weights = affinity.weight.to(values.dtype).reshape(-1)
    starts = torch.arange(
        0, len(columns), affinity.index.shape[1], dtype=torch.int32, device=values.device
    )
    for _ in range(iterations):
        values = bag_sum(values, columns, starts, weights)
    return values


def pool_observations(
    values: Tensor,  # (V, C)
    pixels: Tensor,  # (V,)
    affinity: Affinity,
    iterations: int,
) -> Tensor:  # (V, C)
    """`pool`, where a voxel weighs as many pixels as it was seen by.

    The result is a mean over observations (normalised convolution), not over voxels. Voxels
    beyond the rows of the affinity are newer than it and stay as they are.
    """
    known = len(affinity)
    weight = pixels[:known, None].clamp_min(1.0)
    pooled = pool(torch.cat((values[:known] * weight, weight), dim=1), affinity, iterations)
    mean = pooled[:, :-1] / pooled[:, -1:]
    return torch.cat((mean, values[known:])) if len(values) > known else mean
