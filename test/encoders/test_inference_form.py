"""What runs on a CPU against the plain tower: the same numbers, and no work ahead of time."""

from __future__ import annotations

import pytest
import torch
from torch.nn import Conv2d
from torch.nn.functional import relu, relu6

from geopurify_ros.cli.options import sample_room
from geopurify_ros.core.mapping.encoder import encode_frame
from geopurify_ros.data.readers.sequence import Sequence
from geopurify_ros.encoders import fused_conv, inference_trunk
from geopurify_ros.encoders.builtin import BuiltinEncoder
from geopurify_ros.encoders.fused_conv import NOTHING, RELU, RELU6, FusedConv, can_fuse
from geopurify_ros.encoders.inference_form import InferenceForm

CPU = torch.device("cpu")
# 1 - cosine with the plain tower's features: on average, at the most
FAR = {torch.float32: (1e-6, 1e-5), torch.bfloat16: (2e-3, 0.05)}

pytestmark = pytest.mark.skipif(
    not can_fuse(torch.zeros(1)), reason="this torch has no oneDNN: the plain tower is run"
)


@pytest.fixture(scope="module")
def tower():
    return BuiltinEncoder(CPU, dtype=torch.float32)._image


def rand(*shape, seed=0):
    made = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return made.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(32, 32), (96, 160), (320, 416), (64, 1280), (384, 32)])
@pytest.mark.parametrize("large", [0, inference_trunk._LARGE])
@torch.inference_mode()
def test_the_form_computes_what_the_tower_computes(tower, size, large, monkeypatch):
    """In strips or whole; up to rounding."""
    monkeypatch.setattr(inference_trunk, "_LARGE", large)
    picture, channels = rand(1, 3, *size), rand(1, 8, *(side // 4 for side in size), seed=1)
    before = picture.clone(), channels.clone()
    made = InferenceForm(tower)(picture, channels)
    torch.testing.assert_close(made, tower(picture, channels), atol=1e-5, rtol=0)
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(picture, before[0])
    assert torch.equal(channels, before[1])


@pytest.mark.parametrize("dtype", FAR)
@pytest.mark.parametrize("use_depth", [True, False])
def test_features_of_a_frame_stay_those_of_the_plain_tower(dtype, use_depth):
    """Of one id are one space: maps that were saved before can be asked and extended."""
    encoder, frame = BuiltinEncoder(CPU, dtype=dtype), Sequence(sample_room()).frame(10)
    fused = can_fuse(torch.zeros(1, dtype=dtype))  # bfloat16 not without its instructions
    assert isinstance(encoder._run, InferenceForm) == fused
    made = encode_frame(encoder, frame, CPU, use_depth)
    encoder._run = encoder._image
    far = 1 - (made * encode_frame(encoder, frame, CPU, use_depth)).sum(dim=1)
    mean, most = FAR[dtype]
    assert far.mean() < mean
    assert far.max() < most


def test_a_torch_without_the_operators_runs_the_plain_tower(monkeypatch):
    def lacks(*_):
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute")

    expected = BuiltinEncoder(CPU, dtype=torch.float32).encode_image(rand(1, 3, 64, 64))
    monkeypatch.setattr(FusedConv, "onto", lacks)
    encoder = BuiltinEncoder(CPU, dtype=torch.float32)
    assert encoder._run is encoder._image
    made = encoder.encode_image(rand(1, 3, 64, 64))
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)


def test_other_types_and_devices_are_not_fused():
    assert can_fuse(torch.zeros(1))
    assert not can_fuse(torch.zeros(1, dtype=torch.float16))
    assert not can_fuse(torch.zeros(1, device="meta"))


def test_the_start_draws_nothing_packs_nothing_and_copies_nothing():
    before = torch.get_rng_state()
    encoder = BuiltinEncoder(CPU, dtype=torch.float32)
    assert torch.equal(torch.get_rng_state(), before), "random weights, only to be replaced"
    head = encoder._run._trunk._head
    assert head._packed == {}
    assert head._weight.data_ptr() == encoder._image.trunk.head.weight.data_ptr()


@pytest.mark.parametrize(("act", "plain"), [(NOTHING, lambda x: x), (RELU, relu), (RELU6, relu6)])
@pytest.mark.parametrize("conv", [
    Conv2d(16, 24, 1, bias=False), Conv2d(16, 24, 1, dilation=2),
    Conv2d(16, 16, 5, 2, 2, groups=16), Conv2d(16, 8, 3, 2, 1)], ids=str)
@torch.inference_mode()
def test_a_fused_convolution_is_what_it_replaces(conv, act, plain):
    x, fused = 9 * rand(1, 16, 12, 20), FusedConv(conv, act)
    expected = conv(x)
    torch.testing.assert_close(fused(x), plain(expected), atol=1e-5, rtol=1e-5)
    if act is RELU6:  # of a convolution alone
        return
    total = rand(*expected.shape, seed=2)
    sum_of_both = plain(total + expected)
    made = fused.onto(total, x)
    torch.testing.assert_close(made, sum_of_both, atol=1e-5, rtol=1e-5)
    assert made.data_ptr() == total.data_ptr()


@torch.inference_mode()
def test_weights_are_packed_once_for_a_size():
    fused, kept = FusedConv(Conv2d(8, 8, 1)), fused_conv._MOST_SIZES
    first = fused._packed_for(rand(1, 8, 4, 4))
    assert fused._packed_for(rand(1, 8, 4, 4)) is first
    for width in range(5, 5 + 2 * kept):
        fused(rand(1, 8, 4, width))
        assert len(fused._packed) <= kept
