"""Two commands on one folder of training data: the second says so and touches nothing."""

import importlib.util
import subprocess
import sys

import pytest

from geopurify_ros.cli import main
from geopurify_ros.errors import InputError
from geopurify_ros.train.folder_lock import one_at_a_time
from geopurify_ros.train.rooms.catalogue import FURNITURE_FOLDER


def test_the_second_is_told_and_the_first_goes_on(tmp_path):
    told = pytest.raises(InputError, match="another command is at work")
    with one_at_a_time(tmp_path), told, one_at_a_time(tmp_path):
        raise AssertionError("two at once")
    with one_at_a_time(tmp_path):
        pass


def test_a_process_that_was_killed_holds_nothing(tmp_path):
    holds = (
        "import os, pathlib, sys\n"
        "from geopurify_ros.train.folder_lock import one_at_a_time\n"
        "with one_at_a_time(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holds, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(InputError, match=str(tmp_path)), one_at_a_time(tmp_path):
        pass
    process.kill()
    process.communicate()
    with one_at_a_time(tmp_path):
        pass


@pytest.mark.skipif(
    not FURNITURE_FOLDER.is_dir() or importlib.util.find_spec("embreex") is None,
    reason="needs the Debian package sweethome3d-furniture and embreex",
)
def test_train_rooms_beside_train_rooms_is_one_sentence(tmp_path, capsys):
    with one_at_a_time(tmp_path):
        assert main(["train", "rooms", "--out", str(tmp_path), "--num", "1", "--views", "1"]) != 0
    assert "another command is at work" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
