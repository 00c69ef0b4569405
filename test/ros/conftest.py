"""What several tests of the node start from."""

import pytest
from lone_worker import lone_worker


@pytest.fixture
def worker():
    made = lone_worker()
    made.start()
    yield made
    made.stop()
