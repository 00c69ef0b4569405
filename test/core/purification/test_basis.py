"""The basis that features are kept in: what it leaves out, and when it changes."""

import pytest
import torch
from torch.nn.functional import normalize

from geopurify_ros.config import Config, with_values
from geopurify_ros.core.mapping.fusion import FeatureBags, FrameVoxels
from geopurify_ros.core.mapping.voxel_map import VoxelMap
from geopurify_ros.core.pipeline import Pipeline
from geopurify_ros.core.purification.basis import (
    ALL,
    ENCODER,
    MAP,
    basis_for,
    checked,
    derived,
    directions,
    second_moment,
    whole,
)
from geopurify_ros.errors import InputError

WIDTH, RANK = 128, 80
CPU = torch.device("cpu")


def planes(seed=0, rank=RANK):
    """Orthonormal directions (D, rank)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn((WIDTH, rank), generator=generator)).Q


def features_in(vectors, count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((count, vectors.shape[1]), generator=generator) @ vectors.T


class Named:
    """Random texts, and what is given beside."""

    id, feature_dim, logit_scale = "named", WIDTH, 10.0

    def __init__(self, **beside):
        self.__dict__ |= beside

    def encode_text(self, texts):
        generator = torch.Generator().manual_seed(5)
        return normalize(torch.randn((len(texts), WIDTH), generator=generator), dim=1)


def pipeline_with(features, encoder=None):
    config = with_values(Config(), {"purify.embedding": "geometric", "purify.iterations": 3})
    pipeline = Pipeline(encoder or Named(), config)
    add(pipeline, features)
    return pipeline


def add(pipeline, features):
    first = len(pipeline.map)
    number = torch.arange(first, first + len(features))
    coords = torch.stack((number // 40, number % 40, torch.zeros_like(number)), dim=1)
    color = (number % 7 * 36.0)[:, None].expand(-1, 3)
    pipeline.map.integrate(FrameVoxels(
        coords, FeatureBags.of(features), color, torch.tensor([0.0, 0, 1]).expand(len(coords), 3),
        torch.ones(len(coords))), 0)


def test_the_second_moment_is_that_of_unit_features_however_they_are_cut():
    features = features_in(planes(), 500)
    unit = normalize(features.double(), dim=1)
    found = second_moment(features.split(77), WIDTH, CPU)
    torch.testing.assert_close(found, unit.T @ unit / 500, rtol=0, atol=1e-7)
    assert not second_moment((), WIDTH, CPU).any()


def test_directions_come_by_falling_energy():
    vectors, energy = directions(second_moment([features_in(planes(), 500)], WIDTH, CPU))
    assert bool((energy.diff() <= 1e-12).all())
    assert float(energy.sum()) == pytest.approx(1)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(WIDTH), rtol=0, atol=1e-5)


def test_features_of_few_directions_are_kept_whole_in_as_many():
    features = features_in(planes(), 2000)
    basis = derived(second_moment([features], WIDTH, CPU))
    assert (basis.rank, basis.origin) == (RANK, MAP)
    torch.testing.assert_close(
        basis.expanded(features @ basis.vectors), features, rtol=0, atol=1e-5)
    assert basis.misfit(second_moment([features], WIDTH, CPU)) < 1e-6
    assert basis.misfit(second_moment([features_in(planes(9), 500)], WIDTH, CPU)) > 0.3


@pytest.mark.parametrize(("width", "rank"), [(3, 2), (64, 9), (128, 9)])
def test_a_few_directions_save_nothing_worth_what_hangs_on_them(width, rank):
    vectors = torch.linalg.qr(torch.randn((width, rank), generator=torch.Generator())).Q
    basis = derived(second_moment([features_in(vectors, 2000)], width, CPU))
    assert (basis.rank, basis.origin) == ((64, MAP) if width > 64 else (width, ALL))


def test_features_of_full_rank_keep_all_directions():
    basis = derived(second_moment([features_in(torch.eye(WIDTH), 3000)], WIDTH, CPU))
    assert (basis.rank, basis.origin) == (WIDTH, ALL)
    values = torch.rand((4, WIDTH))
    assert torch.equal(basis.expanded(values), values)


@pytest.mark.parametrize("bad", [
    torch.eye(WIDTH)[:, :3] * 1.01, torch.full((WIDTH, 2), torch.nan), torch.zeros(WIDTH, 0),
    torch.eye(WIDTH - 1),
])
def test_what_is_no_basis_is_refused(bad):
    with pytest.raises(InputError, match="basis of the features"):
        checked(bad, WIDTH)


def test_a_basis_stays_while_it_fits():
    chunks = (features_in(planes(), 700), features_in(planes(), 700, seed=2))
    first, misfit = basis_for(chunks, WIDTH, CPU, None)
    assert (first.rank, misfit) == (RANK, 0.0)
    assert basis_for(chunks, WIDTH, CPU, first)[0] is first
    other = (features_in(planes(9), 1400),)
    second, misfit = basis_for(other, WIDTH, CPU, first)
    assert misfit > 0.3
    assert second.misfit(second_moment(other, WIDTH, CPU)) < 1e-6
    few = (features_in(planes(9), 999),)
    assert basis_for(few, WIDTH, CPU, first)[0] is first
    assert basis_for(few, WIDTH, CPU, None)[0].origin == ALL
    everything = whole(WIDTH, CPU)
    assert basis_for(other, WIDTH, CPU, everything)[0] is everything


def test_a_map_keeps_its_basis_and_says_when_it_takes_another():
    pipeline = pipeline_with(features_in(planes(), 600))
    report = pipeline.purify()
    assert (report.rank, report.news, pipeline.map.basis) == (WIDTH, "", None)  # too few voxels
    add(pipeline, features_in(planes(), 600, seed=2))
    report = pipeline.purify()
    assert (report.rank, report.news) == (RANK, "")
    kept = pipeline.map.basis
    assert kept.shape == (WIDTH, RANK)
    add(pipeline, features_in(planes(), 600, seed=3))
    pipeline.purify()
    assert pipeline.map.basis is kept
    add(pipeline, features_in(planes(9), 600, seed=4))
    report = pipeline.purify()
    assert report.rank == pipeline.map.basis.shape[1] > RANK
    assert "of the features lie outside their basis" in report.news
    assert pipeline.purify().news == ""
    pipeline.reset()
    assert pipeline.map.basis is None


def test_features_of_full_rank_are_told_once():
    pipeline = pipeline_with(features_in(torch.eye(WIDTH), 1500))
    assert pipeline.purify().news == (
        "the features of named use all directions: 128 of 128 directions are kept from now on")
    assert pipeline.purify().news == ""


def test_the_basis_of_the_encoder_serves_maps_of_any_size():
    encoder = Named(basis=planes())
    small = pipeline_with(features_in(planes(), 50), encoder)
    assert small.purify().rank == RANK
    assert small.result.basis.origin == ENCODER
    large = pipeline_with(features_in(planes(), 1500), encoder)
    assert large.purify().news == ""
    assert large.map.basis is None  # it comes with the encoder, not with the map
    strange = pipeline_with(features_in(planes(9), 1500), encoder)
    assert "lie outside their basis" in strange.purify().news
    assert strange.map.basis is not None


def test_an_encoder_with_a_basis_of_another_width_is_refused():
    with pytest.raises(InputError, match="basis of the features has shape"):
        Pipeline(Named(basis=torch.eye(32)[:, :4]), Config())


def test_a_basis_goes_with_snapshots_and_maps():
    pipeline = pipeline_with(features_in(planes(), 1500))
    pipeline.purify()
    assert pipeline.map.snapshot().basis is pipeline.map.basis
    assert VoxelMap(WIDTH, 0.05).snapshot().basis is None
