"""Groups across scenes: equal shares, and the loss of being in the right one."""

import pytest
import torch
from torch.nn.functional import normalize

from geopurify_ros.train.students.teachers.groups import equal_shares, group_loss


def unit(rows, seed, width=8):
    return normalize(torch.randn((rows, width), generator=torch.Generator().manual_seed(seed)),
                     dim=1)


def plain_shares(codes, groups):
    """Sinkhorn and Knopp by loops in float64."""
    shares = [[float(torch.exp(20.0 * (code.double() @ group.double() - 1))) for group in groups]
              for code in codes]
    for _ in range(3):
        total = [sum(row[k] for row in shares) for k in range(len(groups))]
        shares = [[row[k] / total[k] for k in range(len(groups))] for row in shares]
        shares = [[value / sum(row) for value in row] for row in shares]
    return torch.tensor(shares)


def test_shares_equal_the_plain_way():
    codes, groups = unit(40, 0), unit(5, 1)
    plain = plain_shares(codes, groups)
    assert torch.allclose(equal_shares(codes, 3.0 * groups), plain.float(), atol=1e-5)


def test_every_code_is_shared_out_and_no_group_takes_all():
    codes = normalize(unit(400, 0) + 3.0 * unit(1, 9), dim=1)  # nearly one direction
    groups = torch.cat((unit(1, 9), unit(7, 3)))  # the first is nearest to all of them
    assert bool(((codes @ groups.T).argmax(dim=1) == 0).all())
    shares = equal_shares(codes, groups)
    assert torch.allclose(shares.sum(dim=1), torch.ones(400), atol=1e-5)
    assert float(shares.sum(dim=0).max()) < 0.25 * 400
    assert bool(torch.isfinite(equal_shares(codes[:1].expand(3, -1), groups)).all())


def test_the_loss_is_the_cross_entropy_of_the_shares():
    codes, groups = unit(6, 0).requires_grad_(), (2.0 * unit(4, 1)).requires_grad_()
    shares = equal_shares(unit(6, 2), groups)
    assert not shares.requires_grad
    expected = 0.0
    for code, share in zip(codes, shares, strict=True):
        said = torch.softmax(normalize(groups, dim=1) @ code / 0.1, dim=0)
        expected -= float((share * said.log()).sum().detach()) / 6
    loss = group_loss(codes, groups, shares)
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-5)
    loss.backward()
    assert bool(codes.grad.any())
    assert bool(groups.grad.any())
