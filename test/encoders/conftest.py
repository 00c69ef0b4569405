"""Models of open_clip, made once per file of tests."""

import logging

import pytest
from clip_models import Made


@pytest.fixture(scope="module")
def quiet_and_own_cache(tmp_path_factory):
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # open_clip warns of random weights
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOPURIFY_CACHE", str(tmp_path_factory.mktemp("texts")))
        yield
    logging.getLogger().setLevel(level)


@pytest.fixture(scope="module")
def made():
    """One model per name, for all tests."""
    kept = {}

    def get(name):
        if name not in kept:
            kept[name] = Made(name)
        return kept[name]

    return get


@pytest.fixture
def clip(made):
    return made("ViT-B-32").encoder
