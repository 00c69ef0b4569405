"""Labels by leads over alternatives and by pieces, against a plain loop."""

import math

import pytest
import torch

from geopurify_ros.core.answers.alternatives import Reading
from geopurify_ros.core.answers.confident import BELIEVED, confident_labels, new_prospects
from geopurify_ros.core.answers.leads import LeadMaker, lead_of, probability
from geopurify_ros.core.answers.query import TextQuery
from geopurify_ros.core.answers.question import Rivals
from geopurify_ros.core.mapping.encoder import AnswerProfile

PROFILE = AnswerProfile(slope=0.6, offset=-0.5)
PLAIN = AnswerProfile()


def rivals_of(spared, later=None, least=None, profile=PROFILE, counting=None):
    spared = torch.tensor(spared, dtype=torch.bool)
    later = spared if later is None else torch.tensor(later, dtype=torch.bool)
    readings = tuple(Reading(f"p{k}", "", frozenset(), frozenset()) for k in range(len(spared)))
    names = tuple(f"n{k}" for k in range(spared.shape[1]))
    counting = torch.zeros_like(spared) if counting is None else torch.tensor(counting)
    return Rivals(names, spared, later, counting, readings, tuple(range(len(spared))),
                  least or (1,) * len(spared), profile)


def plain_leads(logits, spared, counting):
    """Prompt by prompt and voxel by voxel."""
    num, result = len(spared), []
    for row in logits.tolist():
        own = [max([row[k], *(v for v, c in zip(row[num:], counting[k].tolist(), strict=True)
                              if c)]) for k in range(num)]
        leads = []
        for k in range(num):
            others = [v for j, v in enumerate(own) if j != k]
            others += [v for v, s in zip(row[num:], spared[k].tolist(), strict=True) if not s]
            leads.append(own[k] - max(others) if others else math.inf)
        result.append(leads)
    return torch.tensor(result)


@pytest.mark.parametrize("num_prompts", [1, 3])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_leads_are_those_of_the_plain_loop(num_prompts, share):
    generator = torch.Generator().manual_seed(num_prompts)
    logits = torch.randn((50, num_prompts + 7), generator=generator)
    spared = torch.rand((num_prompts, 7), generator=generator) < share
    for counting in (torch.zeros_like(spared), spared):
        maker = LeadMaker(spared, counting)
        assert torch.equal(maker.of(logits)[0], plain_leads(logits, spared, counting))
    maker = LeadMaker(spared, torch.zeros_like(spared))
    prompt = torch.randint(num_prompts, (50,), generator=generator)
    rival = maker.rival(logits, prompt)
    lead = maker.of(logits)[0].gather(1, prompt[:, None]).squeeze(1)
    known = torch.isfinite(lead)
    own = logits.gather(1, prompt[:, None]).squeeze(1)
    assert torch.allclose((own - logits.gather(1, rival[:, None]).squeeze(1))[known], lead[known])


def test_a_prompt_that_cannot_be_read_leads_nothing():
    logits = torch.tensor([[-math.inf, 1.0, 2.0], [-math.inf, -math.inf, -math.inf]])
    none = torch.zeros((2, 1), dtype=torch.bool)
    maker = LeadMaker(none, none)
    assert maker.of(logits)[0].tolist() == [[-math.inf, -1.0], [-math.inf, -math.inf]]


def test_a_score_is_the_probability_of_a_lead_and_back():
    lead = torch.tensor([-5.0, 0.0, 0.8, 5.0])
    chance = probability(lead, PROFILE)
    assert chance.tolist() == pytest.approx([1 / (1 + math.exp(-0.6 * x + 0.5))
                                             for x in lead.tolist()])
    assert [lead_of(c, PROFILE) for c in chance.tolist()] == pytest.approx(lead.tolist(), abs=1e-3)
    # nobody calibrated: the soft-max of the prompt and its best rival
    assert probability(lead, PLAIN).tolist() == pytest.approx(torch.softmax(
        torch.stack((lead, torch.zeros(4)), dim=1), dim=1)[:, 0].tolist())
    assert lead_of(0.0, PLAIN) == -math.inf


def labels_from(chunks, asked, rivals, coords):
    found = new_prospects(asked, rivals, coords.device)
    found.update(chunks, len(coords))
    return confident_labels(found, asked, rivals, coords)


def row_of(*leads):
    """A line of voxels, one prompt, one rival at 0."""
    logits = torch.tensor([[lead, 0.0] for lead in leads])
    coords = torch.tensor([[k, 0, 0] for k in range(len(leads))])
    return iter([(slice(0, len(leads)), logits)]), coords


def labels_of(leads, least=1, threshold=0.2):
    chunks, coords = row_of(*leads)
    asked = TextQuery(("p0",), None, threshold)
    return labels_from(chunks, asked, rivals_of([[False]], least=(least,)), coords)


def test_a_thing_grows_from_where_it_is_beyond_doubt():
    doubt, sure, never = -1.0, 3.0, -9.0
    assert float(probability(torch.tensor(doubt), PROFILE)) > 0.2
    assert labels_of([never, doubt, sure, sure, doubt, never]).label.tolist() == [0, 1, 1, 1, 1, 0]
    assert labels_of([never, doubt, doubt, doubt]).label.tolist() == [0, 0, 0, 0]
    # a gap parts it from the doubtful ones behind
    assert labels_of([sure, never, never, doubt]).label.tolist() == [1, 0, 0, 0]


def test_enough_voxels_must_beat_every_rival():
    assert labels_of([-1.0, 3.0, 3.0, -1.0], least=2).label.tolist() == [1, 1, 1, 1]
    assert labels_of([-1.0, 3.0, 3.0, -1.0], least=3).label.tolist() == [0, 0, 0, 0]


def test_the_best_voxel_must_be_more_likely_than_not():
    lead = lead_of(BELIEVED, PROFILE)
    assert labels_of([lead - 0.01] * 3).label.tolist() == [0, 0, 0]
    assert labels_of([lead - 0.01, lead + 0.01]).label.tolist() == [1, 1]


def test_scores_stay_where_labels_fall():
    leads = [3.0, -9.0, -1.0]
    labels = labels_of(leads)
    assert labels.label.tolist() == [1, 0, 0]
    assert labels.score.tolist() == pytest.approx(
        probability(torch.tensor(leads), PROFILE).tolist())
    assert labels.reasons.otherwise.tolist() == [1, -1, 1]
    assert labels.reasons.nearest == ((0, pytest.approx(labels.score.tolist()[0])),)


def test_the_head_of_a_prompt_is_a_rival_only_while_something_else_fits():
    """ "Office chair" beside "chair": asked again without it where nothing was found."""
    coords = torch.tensor([[k, 0, 0] for k in range(3)])
    asked = TextQuery(("office chair",), None, 0.2)
    rivals = rivals_of([[False, False]], [[True, False]])
    as_chair = torch.tensor([[5.0, 6.0, 0.0]] * 3)
    labels = labels_from(iter([(slice(0, 3), as_chair)]), asked, rivals, coords)
    assert labels.label.tolist() == [1, 1, 1]
    assert labels.score.tolist() == pytest.approx([float(probability(
        torch.tensor(5.0), PROFILE))] * 3)
    assert labels.reasons.is_calibrated == (False,)  # nobody measured scores without the head
    assert labels.reasons.otherwise.tolist() == [1, 1, 1]  # a chair
    one_office_chair = as_chair.clone()
    one_office_chair[0, 0], one_office_chair[1:, 0] = 9.0, 3.0
    labels = labels_from(iter([(slice(0, 3), one_office_chair)]), asked, rivals, coords)
    assert labels.label.tolist() == [1, 0, 0]
    assert labels.reasons.is_calibrated == (True,)


def test_a_kind_of_the_prompt_counts_for_it():
    """ "Chair", where the voxels are an office chair beside a desk."""
    coords = torch.tensor([[k, 0, 0] for k in range(2)])
    logits = torch.tensor([[3.0, 9.0, 5.0]] * 2)  # chair, office chair, desk
    asked = TextQuery(("chair",), None, 0.2)
    labels = labels_from(iter([(slice(0, 2), logits)]), asked,
                              rivals_of([[True, False]], counting=[[True, False]]), coords)
    assert labels.label.tolist() == [1, 1]
    assert labels.reasons.otherwise.tolist() == [2, 2]
    labels = labels_from(iter([(slice(0, 2), logits)]), asked,
                              rivals_of([[True, False]]), coords)
    assert labels.label.tolist() == [0, 0]
    assert labels.reasons.nearest[0][0] == 2


def test_nothing_grows_below_a_tenth_whatever_the_threshold():
    never = lead_of(0.09, PROFILE)
    assert labels_of([3.0, never, never], threshold=0.0).label.tolist() == [1, 0, 0]
    assert labels_of([3.0, lead_of(0.11, PROFILE)], threshold=0.0).label.tolist() == [1, 1]


def test_two_prompts_share_no_voxel():
    logits = torch.tensor([[5.0, 4.0, 0.0], [5.0, 4.0, 0.0], [0.0, 5.0, 1.0]])
    coords = torch.tensor([[k, 0, 0] for k in range(3)])
    asked = TextQuery(("p0", "p1"), None, 0.2)
    labels = labels_from(
        iter([(slice(0, 3), logits)]), asked, rivals_of([[False], [False]]), coords)
    assert labels.label.tolist() == [1, 1, 2]


def test_an_empty_map_has_no_labels():
    labels = labels_from(iter(()), TextQuery(("p0",), None, 0.2), rivals_of([[False]]),
                              torch.zeros((0, 3), dtype=torch.int64))
    assert labels.label.shape == (0,)
    assert labels.reasons.nearest == ((-1, 0.0),)
