"""The plain way to purify finds what the core finds: neighbours, embeddings, weights, labels."""

import pytest
import torch

from geopurify_ros.core.answers.query import TextQuery
from geopurify_ros.core.purification.neighbors import nearest_neighbors
from geopurify_ros.core.purification.scene import scene_of_map
from geopurify_ros.core.purification.sparse_conv import index_of
from geopurify_ros.evaluate.bench import flat, plain_pass
from geopurify_ros.evaluate.bench.full import purified_labels
from geopurify_ros.evaluate.bench.oracle import oracle_pipeline
from geopurify_ros.evaluate.bench.same_answer import difference, is_same_answer, worst
from geopurify_ros.evaluate.bench.timing import Clock


@pytest.fixture(scope="module")
def pipeline():
    made, oracle, _ = oracle_pipeline(Clock(torch.device("cpu")))
    flat.fill(made, oracle, 400)
    return made


def test_neighbours_are_those_of_the_core_and_who_is_alone_has_itself():
    coords = torch.cat((flat.furnished_room(0).coords[:600], torch.tensor([[500, 500, 500]])))
    expected = nearest_neighbors(index_of(coords), coords, 32)
    found = plain_pass.plain_graph(coords, 32)
    assert torch.equal(found.mask, expected.mask)
    assert torch.equal(found.index, expected.index.long())
    assert not found.mask[-1].any()
    weights = plain_pass.plain_affinity(torch.ones(len(coords), 1), found, 40.0).weight
    assert torch.allclose(weights.sum(dim=1), torch.ones(len(coords)))


def test_embeddings_are_those_of_the_network(pipeline):
    with torch.inference_mode():
        found = plain_pass.plain_embeddings(
            pipeline.student, pipeline.map.features(), pipeline)
    expected = pipeline.student.embed(scene_of_map(pipeline.map, torch.tensor([0.0, 0, 1])))
    assert torch.allclose(found, expected, atol=1e-4)


def test_both_ways_to_pool_say_the_same_as_a_full_pass(pipeline):
    asked = TextQuery(pipeline.encoder.classes, (), 0.0)
    expected = purified_labels(pipeline, asked)
    for product in (plain_pass.gathered, plain_pass.sparse):
        with torch.inference_mode():
            found = plain_pass.plain_pass(pipeline, asked, product)
        assert is_same_answer(difference(found, expected))


def test_answers_differ_by_labels_or_by_scores():
    same = {"labels_equal": 1.0, "max_score_difference": 0.005, "score_over_0_01_share": 0.0}
    assert is_same_answer(same)
    assert not is_same_answer(same | {"labels_equal": 0.998})
    assert not is_same_answer(same | {"score_over_0_01_share": 2e-4})
    other = same | {"labels_equal": 0.9, "max_score_difference": 0.001}
    assert worst([same, other]) == same | {"labels_equal": 0.9}
