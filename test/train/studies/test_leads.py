"""Differences between rows of the table, with their spread over rooms."""

import json

import pytest
import torch

from geopurify_ros.core.purification.student import SMALL, StudentNet
from geopurify_ros.train.studies.leads import leads_over, markdown
from geopurify_ros.train.studies.table import CEILING, RAW, UNTRAINED, untrained_like


def room(raw, untrained, student, ceiling):
    """Rows of `table_of`: mIoU as given, in the band half of it; two draws of `untrained`."""
    values = {RAW: [raw], UNTRAINED: [untrained - 0.01, untrained + 0.01], "student": [student],
              CEILING: [ceiling]}
    return {"rows": {name: [{"miou": one, "boundary_miou": one / 2} for one in of_name]
                     for name, of_name in values.items()}}


ROOMS = [room(0.4, 0.5, 0.56, 0.7), room(0.5, 0.6, 0.62, 0.8), room(0.3, 0.4, 0.39, 0.6)]


def test_a_lead_is_a_mean_with_its_error_over_the_rooms():
    lead = leads_over(ROOMS, UNTRAINED, RAW, CEILING)["student"]
    # differences .06, .02, -.01: mean .0233, deviation .0351, by the root of three
    assert lead.miou == pytest.approx(0.07 / 3)
    assert lead.miou_error == pytest.approx(0.0351188 / 3**0.5, abs=1e-6)
    assert lead.boundary_miou == pytest.approx(lead.miou / 2)
    assert lead.boundary_error == pytest.approx(lead.miou_error / 2)
    assert (lead.num_better, lead.num_rooms) == (2, 3)
    assert lead.worst == pytest.approx(-0.01)
    # raw .4, student .5233, ceiling .7
    assert lead.ceiling_share == pytest.approx(0.37 / 0.9)


def test_the_reference_leads_nobody_and_raw_has_nothing_of_the_ceiling():
    leads = leads_over(ROOMS, UNTRAINED, RAW, CEILING)
    assert list(leads) == [RAW, "student", CEILING]
    assert leads[RAW].ceiling_share == 0.0
    assert leads[CEILING].ceiling_share == pytest.approx(1.0)


def test_one_room_has_no_spread_and_says_none():
    leads = leads_over(ROOMS[:1], UNTRAINED, RAW, CEILING)
    assert leads["student"].miou_error is None
    assert "NaN" not in json.dumps([vars(lead) for lead in leads.values()])
    assert "| student | +0.060 | +0.030 | 1 of 1 | +0.060 | 53% |" in markdown(leads, UNTRAINED)


def test_a_ceiling_that_gains_nothing_is_no_measure():
    leads = leads_over([room(0.7, 0.5, 0.6, 0.7)], UNTRAINED, RAW, CEILING)
    assert leads["student"].ceiling_share is None
    assert markdown(leads, UNTRAINED).splitlines()[3].endswith("| - |")


def test_several_rooms_are_told_with_their_error():
    lines = markdown(leads_over(ROOMS, UNTRAINED, RAW, CEILING), UNTRAINED).splitlines()
    assert lines[0].startswith(f"| lead over {UNTRAINED} | mIoU |")
    assert lines[3] == "| student | +0.023 +- 0.020 | +0.012 +- 0.010 | 2 of 3 | -0.010 | 41% |"


def test_an_untrained_student_has_the_input_statistics_and_weights_of_its_seed_alone():
    net = StudentNet(SMALL, SMALL.in_channels(4))
    net.set_statistics(torch.arange(10.0), 1.0 + torch.arange(10.0))
    before = torch.random.get_rng_state()
    first, again, other = (untrained_like(net, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.shape == net.shape
    assert torch.equal(first.mean, net.mean)
    assert torch.allclose(first.scale, net.scale)
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
    assert not torch.equal(first.head.weight, net.head.weight)
