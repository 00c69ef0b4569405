"""The map's services over DDS: what goes wrong with files leaves the running map untouched."""

from __future__ import annotations

import json
import resource
import signal
import threading
import time

import pytest
import torch
from ros_harness import ColorEncoder, Harness, running
from safetensors import safe_open
from safetensors.torch import save_file
from std_srvs.srv import SetBool, Trigger

from geopurify_ros.core.purification.job import PurifyJob
from geopurify_ros.data.map_file import load_map, save_map
from geopurify_ros.srv import MapFile, Query


@pytest.fixture(scope="module")
def shared():
    with running() as harness:
        yield harness


@pytest.fixture
def harness(shared):
    shared.camera.said.clear()
    shared.node._reporter._last.clear()
    shared.call(Trigger, "reset", Trigger.Request())
    shared.fuse(3)
    return shared


def save(harness: Harness, path) -> MapFile.Response:
    return harness.call(MapFile, "save_map", MapFile.Request(file_path=str(path)))


def load(harness: Harness, path) -> MapFile.Response:
    return harness.call(MapFile, "load_map", MapFile.Request(file_path=str(path)))


def labels(harness: Harness) -> tuple:
    """Everything a client sees of a query, and the labels behind it."""
    assert harness.call(Trigger, "purify", Trigger.Request()).success
    response = harness.call(Query, "query", Query.Request(prompts=["red", "green"]))
    assert response.success, response.message
    worker = harness.node.worker
    answer = worker.pipeline.query(worker.query) if worker.query else None
    return response.result.results, response.result.header, answer


def state(harness: Harness) -> dict:
    return harness.node.worker.pipeline.map.state()


def same(a: dict, b: dict) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


# --- save and load


def test_a_loaded_map_answers_bit_equal_and_mapping_goes_on(harness, tmp_path):
    path = tmp_path / "room.safetensors"
    harness.ask("red")
    before, header, answer = labels(harness)
    response = save(harness, path)
    assert response.success, response.message
    saved = state(harness)
    harness.fuse(2)  # the map grows on, then goes back to the file
    response = load(harness, path)
    assert response.success, response.message
    assert same(state(harness), saved)
    after, header_after, answer_after = labels(harness)
    assert after == before
    assert header_after == header, "the stamp is that of the saved map"
    for one, other in ((answer.raw, answer_after.raw), (answer.purified, answer_after.purified)):
        assert torch.equal(one.label, other.label)
        assert torch.equal(one.score, other.score)
    voxels = len(harness.node.worker.pipeline.map)
    harness.fuse(3)
    assert len(harness.node.worker.pipeline.map) > voxels
    harness.assert_alive()


def test_the_command_line_reads_what_the_node_wrote(harness, tmp_path):
    save(harness, tmp_path / "room.safetensors")
    loaded, header = load_map(tmp_path / "room.safetensors", "test-color", 0.05, frame="map")
    assert same(loaded.state(), state(harness))
    assert header.num_voxels == len(loaded)


def test_files_say_the_number_type_and_loading_tells_of_another(harness, tmp_path, monkeypatch):
    path = tmp_path / "room.safetensors"
    monkeypatch.setattr(ColorEncoder, "dtype", torch.float32, raising=False)
    save(harness, path)
    assert load_map(path)[1].encoder_dtype == "float32"
    assert load(harness, path).message.endswith("mapping goes on with them")
    monkeypatch.setattr(ColorEncoder, "dtype", torch.bfloat16)
    assert load(harness, path).message.endswith(
        "mapping goes on with them in bfloat16; what was loaded was made in float32")
    save(harness, path)
    assert load_map(path)[1].encoder_dtype == "bfloat16+float32"


def rewrite(path, **changes) -> None:
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["geopurify_map"]) | changes
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, {"geopurify_map": json.dumps(header)})


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda p, m: rewrite(p, format_version=9), "has map format 9"),
    (lambda p, m: save_map(p, m, "another-encoder", "map"), "with encoder another-encoder"),
    (lambda p, m: rewrite(p, voxel_size_m=0.1), "with voxels of 0.1 m, not 0.05 m"),
    (lambda p, m: save_map(p, m, "test-color", "odom"), "in frame 'odom', not 'map'"),
    (lambda p, m: p.write_bytes(p.read_bytes()[:-100]), "is damaged"),
    (lambda p, m: p.write_bytes(p.read_bytes()[:-1] + b"\xff"), "does not match its checksum"),
    (lambda p, m: rewrite(p, stamp_ns=5), "does not match its checksum"),
    (lambda p, m: p.write_bytes(b""), "is damaged"),
    (lambda p, m: p.unlink(), "there is no map file"),
], ids=["version", "encoder", "voxel size", "frame", "truncated", "tampered", "header", "empty",
        "missing"])
def test_a_file_that_does_not_fit_is_refused_and_the_map_stays(
    harness, tmp_path, change, sentence
):
    path = tmp_path / "room.safetensors"
    assert save(harness, path).success
    change(path, harness.node.worker.pipeline.map)
    before = state(harness)
    response = load(harness, path)
    assert not response.success
    assert sentence in response.message
    assert "\n" not in response.message
    assert same(state(harness), before)
    harness.wait_for_warning(sentence)
    harness.assert_alive()


@pytest.mark.parametrize(("path", "sentence"), [
    ("", "expected the name of a map"),
    ("/nowhere/at/all/room.safetensors", "parameter map.folder"),
    ("/proc/room.safetensors", "parameter map.folder"),
])
def test_a_path_that_cannot_be_written_is_one_sentence(harness, path, sentence):
    response = save(harness, path)
    assert not response.success
    assert sentence in response.message
    harness.assert_alive()


def test_a_full_disk_leaves_the_old_file_and_the_map(harness, tmp_path):
    path = tmp_path / "room.safetensors"
    assert save(harness, path).success
    old, before = path.read_bytes(), state(harness)
    harness.fuse()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        response = save(harness, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert not response.success
    assert "could not be written" in response.message
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == [path.name], "nothing is left over"
    assert load(harness, path).success
    assert same(state(harness), before)
    harness.assert_alive()


def test_an_empty_map_does_not_replace_a_good_file(harness, tmp_path):
    path = tmp_path / "room.safetensors"
    assert save(harness, path).success
    old = path.read_bytes()
    assert harness.call(Trigger, "reset", Trigger.Request()).success
    response = save(harness, path)
    assert (response.success, response.message) == (False, "the map is empty: nothing was saved")
    assert path.read_bytes() == old


def test_loading_and_saving_while_frames_come(harness, tmp_path):
    """Nothing is lost from the books, and what is on disk is always one whole map."""
    path = tmp_path / "room.safetensors"
    assert save(harness, path).success
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            harness.camera.send()
            time.sleep(0.02)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        for _ in range(5):
            assert load(harness, path).success
            assert save(harness, path).success
            load_map(path)
    finally:
        stop.set()
        sender.join()
    time.sleep(0.3)
    harness.settle(harness.counts()["received"])
    harness.assert_alive()


def test_pause_drops_and_counts_and_goes_on(harness):
    assert harness.call(SetBool, "pause", SetBool.Request(data=True)).success
    before = harness.counts()
    harness.camera.send()
    counts = harness.settle(before["received"] + 1)
    assert counts["dropped.paused"] == before.get("dropped.paused", 0) + 1
    assert counts["fused"] == before["fused"]
    assert "mapping goes on" in harness.call(SetBool, "pause", SetBool.Request(data=False)).message
    harness.assert_alive()


def test_an_image_that_waits_for_the_worker_is_dropped_by_pause(harness):
    begun, go_on = threading.Event(), threading.Event()
    harness.node.worker.call("query", lambda: begun.set() or go_on.wait(20), lambda _: None)
    assert begun.wait(20)
    before = harness.counts()
    harness.camera.send()
    harness.wait(lambda: bool(harness.node.worker._frames), "the frame")
    assert harness.call(SetBool, "pause", SetBool.Request(data=True)).success
    go_on.set()
    counts = harness.settle(before["received"] + 1)
    assert counts["dropped.paused"] == before.get("dropped.paused", 0) + 1
    assert harness.call(SetBool, "pause", SetBool.Request(data=False)).success
    harness.assert_alive()


def test_bad_images_after_good_ones_are_told_in_the_diagnostics(harness):
    harness.fuse()

    def bend(rgb, depth, info, tf):
        rgb.encoding = "yuv422_odd"

    def is_told() -> bool:
        harness.camera.send(bend)
        time.sleep(0.05)
        return "yuv422_odd" in harness.status("inputs").message

    harness.wait(is_told, "the fault")
    assert "/geopurify/rgb/image: " in harness.status("inputs").message
    assert "images were refused" in harness.status("inputs").message
    harness.assert_alive()


# --- the encoder and the purifier


def test_a_query_during_purification_is_answered_at_once_and_frames_are_fused(
    harness, monkeypatch
):
    running, go_on = threading.Event(), threading.Event()
    run = PurifyJob.run

    def slow(job, is_unwanted):
        made = run(job, is_unwanted)
        running.set()
        assert go_on.wait(20)
        return made

    monkeypatch.setattr(PurifyJob, "run", slow)
    reports = []
    try:
        harness.node.worker.request_purify(reports.append)
        assert running.wait(10)
        response = harness.call(Query, "query", Query.Request(prompts=["red"]))
        assert response.success
        harness.fuse(2)
        assert not reports
    finally:
        go_on.set()
    harness.wait(lambda: reports, "the purification")
    harness.assert_alive()


def test_a_purification_that_raises_is_named_and_the_map_stays(harness, monkeypatch):
    def broken(*_arguments):
        raise RuntimeError("no memory left")

    before = state(harness)
    with monkeypatch.context() as patch:
        patch.setattr(PurifyJob, "run", broken)
        response = harness.call(Trigger, "purify", Trigger.Request())
        assert not response.success
        assert "no memory left" in response.message
        harness.wait_for_fault("purifier", "no memory left", "the map is kept")
    assert same(state(harness), before)
    assert harness.call(Trigger, "purify", Trigger.Request()).success
    harness.assert_alive()


def test_an_encoder_that_always_raises_is_named_and_nothing_is_fused(harness):
    encoder = harness.node.worker.pipeline.encoder
    before, counts = state(harness), harness.counts()

    def broken(_rgb):
        raise RuntimeError("weights are gone")

    encoder.encode_image = broken
    try:
        for i in range(5):
            harness.camera.send()
            harness.settle(counts["received"] + i + 1)
        harness.wait_for_fault("encoder", "weights are gone")
    finally:
        del encoder.encode_image
    after = harness.counts()
    assert after["dropped.internal_error"] == counts.get("dropped.internal_error", 0) + 5
    assert same(state(harness), before)
    harness.assert_alive()
    harness.wait(lambda: harness.status("encoder").level == b"\x00", "a healthy encoder")


def test_an_encoder_that_returns_nonsense_adds_nothing(harness):
    encoder = harness.node.worker.pipeline.encoder
    before = state(harness)
    for nonsense in (torch.full((1, 3, 4, 4), float("nan")), torch.zeros(1, 7, 4, 4),
                     torch.zeros(3)):
        encoder.encode_image = lambda _rgb, n=nonsense: n
        try:
            counts = harness.counts()
            harness.camera.send()
            assert harness.settle(counts["received"] + 1)["fused"] == counts["fused"]
        finally:
            del encoder.encode_image
    assert same(state(harness), before)
    harness.assert_alive()
