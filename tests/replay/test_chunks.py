"""Saving writes what changed, loading restores to the bit, and damage is told from health."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from replay_reference import episode, filled, random_lanes, rows_of, spec_of, starts_of

from muzen.config import ReplayConfig
from muzen.errors import MuzenError, RunDamagedError, StorageError
from muzen.replay import Replay, columns

OPTIONS = {"unroll_steps": 3, "n_step": 4, "discount": 0.9}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of a few rows, so that a small replay has many."""
    monkeypatch.setattr(columns, "CHUNK_BYTES", 1500)


def use(replay, rng):
    """What training does to a replay between two saves; returns all that can be seen of it."""
    batch = replay.sample(2, 8, **OPTIONS)
    replay.update_priorities(batch.index, rng.exponential(size=batch.index.shape))
    index = replay.positions(7)
    replay.write_targets(index, rng.dirichlet(np.ones(3), 7), rng.normal(size=(7, replay.spec.players)))
    return [*batch, index, np.array(replay.statistics), np.array([replay.steps, replay.total_steps, replay.starts])]


def assert_equal(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def through_json(manifest):
    return json.loads(json.dumps(manifest))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    lanes=st.integers(1, 3),
    capacity=st.integers(3, 60),
    alpha=st.sampled_from([0.0, 0.6]),
    saves=st.integers(1, 5),
)
def test_interrupted_equals_uninterrupted_to_the_bit(tmp_path_factory, seed, lanes, capacity, alpha, saves):
    rng = np.random.default_rng(seed)
    stored = [
        episode(int(rng.integers(1, 200)), terminated=False) + lane for lane in random_lanes(rng, lanes, 90, 1, 3)
    ]
    config = ReplayConfig(max_steps=capacity * lanes, priority_alpha=alpha)
    going = Replay(spec_of(), config, lanes, seed)
    other = Replay(spec_of(), config, lanes, seed)
    folder = tmp_path_factory.mktemp("replay")
    uses = [np.random.default_rng(1), np.random.default_rng(1)]
    longest = max(map(len, stored))
    stops = sorted(rng.integers(2, longest, saves).tolist()) if longest > 2 else [longest]
    t = 0
    for stop in [*stops, longest]:
        for replay in (going, other):
            for i, lane in enumerate(stored):
                for row in lane[t:stop]:
                    replay.add(np.array([i]), rows_of([row]))
        t = max(t, stop)
        if going.starts:
            assert_equal(use(going, uses[0]), use(other, uses[1]))
        manifest = through_json(other.save(folder))
        other = Replay.load(folder, manifest, spec_of(), config)
        assert through_json(other.save(folder)) == manifest
    if going.starts:
        assert_equal(use(going, uses[0]), use(other, uses[1]))
        np.testing.assert_array_equal(going._store.tree, other._store.tree)


def test_a_full_chunk_of_rows_is_written_once_and_clean_targets_not_again(tmp_path):
    lane = episode(400, terminated=True)
    replay = filled([lane[:200]], spec_of(), 1000)
    first = {entry["name"] for entry in replay.save(tmp_path)["files"]}
    assert {entry["name"] for entry in replay.save(tmp_path)["files"]} == first
    stamps = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    for row in lane[200:210]:
        replay.add(np.array([0]), rows_of([row]))
    second = {entry["name"] for entry in replay.save(tmp_path)["files"]}
    assert 2 <= len(second - first) <= 4  # the tail, and perhaps the next chunk
    assert all(path.stat().st_mtime_ns == stamps[path.name] for path in tmp_path.iterdir() if path.name in first)
    replay.write_targets(np.array([3]), np.full((1, 3), 1 / 3), np.array([[5.0]]))
    third = {entry["name"] for entry in replay.save(tmp_path)["files"]}
    assert [name.split("-")[:2] for name in third - second] == [["targets", "000000"]]


def test_files_of_rows_that_were_all_evicted_are_no_longer_listed(tmp_path):
    lane = episode(400, terminated=True)
    replay = filled([lane[:100]], spec_of(), 50)
    first = replay.save(tmp_path)["files"]
    for row in lane[100:]:
        replay.add(np.array([0]), rows_of([row]))
    second = replay.save(tmp_path)["files"]
    assert min(entry["chunk"] for entry in second) > max(entry["chunk"] for entry in first)
    assert len(second) <= len(first) + 2


def test_saving_elsewhere_writes_everything_there(tmp_path):
    replay = filled([episode(100, terminated=True)], spec_of(), 1000)
    replay.save(tmp_path / "one")
    manifest = replay.save(tmp_path / "two")
    assert Replay.load(tmp_path / "two", manifest, spec_of(), replay.config).steps == 100


def test_files_that_vanished_are_written_again(tmp_path):
    replay = filled([episode(100, terminated=True)], spec_of(), 1000)
    for path in [tmp_path / entry["name"] for entry in replay.save(tmp_path)["files"]][:3]:
        path.unlink()
    assert Replay.load(tmp_path, replay.save(tmp_path), spec_of(), replay.config).steps == 100


def test_a_smaller_budget_keeps_the_newest_rows_and_a_larger_one_all(tmp_path):
    lanes = random_lanes(np.random.default_rng(0), 2, 90, 1, 3)
    replay = filled(lanes, spec_of(), 80, priority_alpha=1.0)
    manifest = replay.save(tmp_path)
    for capacity, expected in ((10, 10), (40, 40), (100, 40)):  # the rows before the last 40 are gone
        config = ReplayConfig(max_steps=2 * capacity, priority_alpha=1.0)
        other = Replay.load(tmp_path, manifest, spec_of(), config)
        drawn = set(other.sample(4, 1000, **OPTIONS).index.ravel().tolist())
        assert drawn == set(starts_of(lanes, expected))
        again = Replay.load(tmp_path, other.save(tmp_path), spec_of(), config)
        assert_equal(other.sample(1, 8, **OPTIONS)[:1], again.sample(1, 8, **OPTIONS)[:1])


def test_a_uniform_run_can_go_on_with_priorities(tmp_path):
    lanes = random_lanes(np.random.default_rng(0), 2, 90, 1, 3)
    manifest = filled(lanes, spec_of(), 80).save(tmp_path)
    replay = Replay.load(tmp_path, manifest, spec_of(), ReplayConfig(max_steps=80, priority_alpha=1.0))
    assert replay._store.tree[0] == len(starts_of(lanes, 40))


def test_a_failed_write_leaves_the_files_of_the_last_manifest_and_the_next_save_catches_up(tmp_path, monkeypatch):
    lane = episode(100, terminated=True)
    replay = filled([lane[:50]], spec_of(), 1000)
    manifest = replay.save(tmp_path)
    for row in lane[50:]:
        replay.add(np.array([0]), rows_of([row]))
    import muzen.files

    real, calls = muzen.files.os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 4:
            raise OSError(28, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(muzen.files.os, "fsync", full)
        with pytest.raises(StorageError, match="disk is full"):
            replay.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {entry["name"] for entry in manifest["files"]}
    assert Replay.load(tmp_path, manifest, spec_of(), replay.config).steps == 50
    assert Replay.load(tmp_path, replay.save(tmp_path), spec_of(), replay.config).steps == 100


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "CHUNK_BYTES", 1500)
        return _saved_in(folder)


def _saved_in(folder):
    replay = filled(random_lanes(np.random.default_rng(0), 2, 90, 1, 3), spec_of(), 80, priority_alpha=1.0)
    return folder, through_json(replay.save(folder)), replay.config


@settings(max_examples=60)
@given(data=st.data())
def test_damaged_files_are_always_reported_as_damage(saved, data):
    folder, manifest, config = saved
    path = folder / data.draw(st.sampled_from([entry["name"] for entry in manifest["files"]]))
    original = path.read_bytes()
    kind = data.draw(st.sampled_from(["cut", "flip", "gone", "longer"]))
    at = data.draw(st.integers(0, len(original) - 1))
    try:
        if kind == "gone":
            path.unlink()
        else:
            flipped = original[:at] + bytes([original[at] ^ data.draw(st.integers(1, 255))]) + original[at + 1 :]
            path.write_bytes({"cut": original[:at], "flip": flipped, "longer": original + b"x"}[kind])
        with pytest.raises(RunDamagedError, match=path.name):
            Replay.load(folder, manifest, spec_of(), config)
    finally:
        path.write_bytes(original)


JUNK = st.one_of(
    st.none(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=3), st.lists(st.integers(), max_size=3)
)


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_manifests_are_always_an_error_of_muzen(saved, data):
    folder, manifest, config = saved
    manifest = through_json(manifest)
    place = manifest
    if data.draw(st.booleans()):
        place = data.draw(st.sampled_from(manifest["files"]))
    key = data.draw(st.sampled_from(sorted(place)))
    if data.draw(st.booleans()):
        place[key] = data.draw(JUNK)
    else:
        del place[key]
    with contextlib.suppress(MuzenError):
        Replay.load(folder, manifest, spec_of(), config).sample(1, 4, **OPTIONS)


def test_a_replay_of_another_environment_is_refused(saved):
    folder, manifest, config = saved
    with pytest.raises(RunDamagedError, match="does not fit"):
        Replay.load(folder, manifest, spec_of(actions=4), config)


def test_nothing_on_disk_can_hold_code(saved):
    folder, _, _ = saved
    for path in folder.iterdir():
        with np.load(path, allow_pickle=False) as archive:
            assert all(archive[name].dtype.kind in "biuf" for name in archive.files)
