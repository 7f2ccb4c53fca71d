"""A checkpoint is the last one or the one before, whatever happens while it is written."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wrapped_file import WrappedFile

import muzen.files
from muzen.config import ReplayConfig
from muzen.errors import MuzenError, RunDamagedError, RunNotFoundError, RunVersionError, StorageError
from muzen.replay import Replay, Rows
from muzen.runs import Checkpoint
from muzen.types import EnvSpec

SPEC = EnvSpec("test", (3,), "float32", 2)


def grow(replay, rows):
    """Add rows whose observation is their own number, and touch old targets."""
    none = np.zeros(1, bool)
    for _ in range(rows):
        seen = np.full((1, 3), replay.total_steps, np.float32)
        replay.add(np.zeros(1, int), Rows(seen, none, np.ones((1, 1)), none, none, none, none, None))
    index = replay.positions(5)
    replay.write_targets(index, np.full((5, 2), 0.5), np.full((5, 1), float(replay.total_steps)))


def new_replay():
    return Replay(SPEC, ReplayConfig(max_steps=100), 1, 0)


def save(run, replay):
    """A checkpoint all of whose parts tell its number."""
    number = replay.total_steps
    state = {"number": number, "inf": float("inf"), "numpy": np.float32(0.1), "keys": {2: "b", 10: "a"}}
    Checkpoint(run).save({"w": np.full((50, 3), number, np.float32), "n": np.array(number)}, state, replay)


def check(run):
    """Load a checkpoint, assert that its parts belong together, and return its number."""
    saved = Checkpoint(run).load()
    number = saved.state["number"]
    assert (saved.arrays["w"] == number).all() and saved.arrays["w"].dtype == np.float32
    replay = Replay.load(saved.replay_folder, saved.replay_manifest, SPEC, ReplayConfig(max_steps=100))
    assert replay.total_steps == number
    newest = np.arange(max(0, number - 100), number)
    np.testing.assert_array_equal(replay.observations(newest)[:, 0], newest)
    return number


def files_of(run):
    return {path.relative_to(run) for path in Path(run).rglob("*") if path.is_file()}


def test_a_checkpoint_comes_back_as_saved(tmp_path):
    replay = new_replay()
    grow(replay, 30)
    assert not Checkpoint(tmp_path).exists()
    save(tmp_path, replay)
    assert Checkpoint(tmp_path).exists()
    assert check(tmp_path) == 30
    state = Checkpoint(tmp_path).load().state
    assert state["inf"] == float("inf") and state["keys"] == {"2": "b", "10": "a"}
    assert np.float32(state["numpy"]) == np.float32(0.1)


def test_a_checkpoint_without_replay(tmp_path):
    Checkpoint(tmp_path).save({"x": np.arange(3)}, {})
    assert Checkpoint(tmp_path).load().replay_manifest is None


def test_old_files_go_when_a_new_checkpoint_is_committed(tmp_path):
    replay = new_replay()
    for _ in range(30):
        grow(replay, 10)
        save(tmp_path, replay)
    assert len(files_of(tmp_path)) == 4  # the list, the weights, one chunk of rows and its targets
    assert check(tmp_path) == 300


def test_a_run_without_a_checkpoint_says_so(tmp_path):
    with pytest.raises(RunNotFoundError, match="has no checkpoint"):
        Checkpoint(tmp_path).load()


class Killed(BaseException):
    """What a kill looks like from inside: nothing after it runs."""


class Disk:
    """Counts what touches the disk and stops it at one point: for good (a kill), or with an error (a full disk)."""

    def __init__(self, patch, stop_at, error=None):
        self.calls, self.stop_at, self.error, self.killed = 0, stop_at, error, False
        real_open = open
        for owner, name in ((os, "fsync"), (os, "replace"), (os, "unlink"), (os, "mkdir")):
            patch.setattr(owner, name, self.guarded(getattr(os, name), removes=name == "unlink"))
        patch.setattr(Path, "unlink", self.guarded(Path.unlink, removes=True))

        def opened(*args, **kwargs):
            file = self.guarded(real_open)(*args, **kwargs)
            return Written(file, self)

        patch.setattr(muzen.files, "open", opened, raising=False)

    def guarded(self, function, removes=False):
        def call(*args, **kwargs):
            if self.killed:
                raise Killed
            if self.error is None or not removes:  # a full disk still removes files
                self.calls += 1
                if self.calls == self.stop_at:
                    if self.error is not None:
                        raise self.error
                    self.killed = True
                    raise Killed
            return function(*args, **kwargs)

        return call


class Written(WrappedFile):
    """A file whose writes may stop half way."""

    def __init__(self, file, disk):
        super().__init__(file)
        self.disk = disk

    def write(self, data):
        def halves():
            self.file.write(data[: len(data) // 2])
            self.file.flush()

        self.disk.guarded(halves)()
        return self.disk.guarded(self.file.write)(data[len(data) // 2 :])


@pytest.mark.parametrize("error", [None, OSError(28, "No space left on device"), OSError(5, "Input/output error")])
def test_a_save_stopped_at_any_point_leaves_a_whole_checkpoint(tmp_path, monkeypatch, error):
    stop_at = 0
    while True:
        stop_at += 1
        run = tmp_path / str(stop_at)
        replay = new_replay()
        grow(replay, 130)
        save(run, replay)
        grow(replay, 30)
        with monkeypatch.context() as patch:
            disk = Disk(patch, stop_at, error)
            try:
                save(run, replay)
                stopped = False
            except (Killed, StorageError) as raised:
                assert isinstance(raised, Killed) == (error is None)
                stopped = True
        number = check(run)
        if disk.calls < stop_at:
            break
        if error is not None and number == 130:
            assert stopped
            assert len(files_of(run)) == 4  # nothing half-written takes up the full disk
        assert number in (130, 160)
        save(run, replay)
        assert check(run) == 160
        assert len(files_of(run)) == 4
    assert stop_at > 12
    assert number == 160 and not stopped


def test_a_first_save_that_is_killed_leaves_a_run_without_checkpoint(tmp_path, monkeypatch):
    replay = new_replay()
    grow(replay, 10)
    with monkeypatch.context() as patch:
        Disk(patch, 8)
        with pytest.raises(Killed):
            save(tmp_path, replay)
    with pytest.raises(RunNotFoundError):
        Checkpoint(tmp_path).load()
    save(tmp_path, replay)
    assert check(tmp_path) == 10 and len(files_of(tmp_path)) == 4


SAVER = """
import sys
sys.path[:0] = sys.argv[2:]
from test_checkpoint import grow, new_replay, save
replay = new_replay()
grow(replay, 5)
save(sys.argv[1], replay)
print("saved", flush=True)
while True:
    grow(replay, 7)
    save(sys.argv[1], replay)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX")
def test_kill_minus_nine_at_random_moments_leaves_a_whole_checkpoint(tmp_path):
    chance = random.Random(0)
    for attempt in range(3):
        run = tmp_path / str(attempt)
        command = [sys.executable, "-c", SAVER, str(run), *map(str, Path(__file__).parents[:2])]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"saved\n"
            time.sleep(chance.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            process.wait()
        number = check(run)
        replay = new_replay()
        grow(replay, number + 1)
        save(run, replay)
        assert check(run) == number + 1 and len(files_of(run)) == 4


def test_a_reader_of_a_living_run_looks_again_when_files_vanish_under_it(tmp_path, monkeypatch):
    replay = new_replay()
    grow(replay, 10)
    save(tmp_path, replay)
    real, reads = muzen.files.read_checked, []

    def late(path, *args):
        if not reads:
            grow(replay, 10)
            save(tmp_path, replay)  # removes what the reader was about to open
        reads.append(path)
        return real(path, *args)

    monkeypatch.setattr("muzen.runs.checkpoint.read_checked", late)
    assert Checkpoint(tmp_path).load().state["number"] == 20


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    replay = new_replay()
    grow(replay, 130)
    save(run, replay)
    return run


@settings(max_examples=80)
@given(data=st.data())
def test_a_damaged_checkpoint_is_always_reported_as_damage(saved, data):
    path = saved / data.draw(st.sampled_from(sorted(files_of(saved))))
    original = path.read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    kind = data.draw(st.sampled_from(["cut", "flip", "gone", "longer"]))
    try:
        if kind == "gone":
            path.unlink()
        else:
            flipped = original[:at] + bytes([original[at] ^ data.draw(st.integers(1, 255))]) + original[at + 1 :]
            path.write_bytes({"cut": original[:at], "flip": flipped, "longer": original + b"x"}[kind])
        try:
            assert check(saved) == 130
        except (RunDamagedError, RunVersionError) as error:
            assert str(saved) in str(error)
        except RunNotFoundError:
            assert kind == "gone" and path.name == "checkpoint.json"
        else:
            # only the list has bytes that mean nothing: blanks, and the case of an escape
            assert path.name == "checkpoint.json"
    finally:
        path.write_bytes(original)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=4),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(["name", "bytes", "files"]), x, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80)
@given(data=st.data())
def test_a_forged_list_of_files_is_always_an_error_of_muzen(saved, data):
    from muzen.runs.checkpoint import _sealed

    path = saved / "checkpoint" / "checkpoint.json"
    original = path.read_bytes()
    listing = json.loads(original)["checkpoint"]
    listing[data.draw(st.sampled_from(["arrays", "state", "replay"]))] = data.draw(JSON)
    try:
        path.write_bytes(_sealed(listing))
        read = Checkpoint(saved).load()
        Replay.load(read.replay_folder, read.replay_manifest, SPEC, ReplayConfig(max_steps=100))
    except MuzenError:
        pass
    finally:
        path.write_bytes(original)


def test_a_newer_checkpoint_is_refused_with_the_way_out(saved):
    path = saved / "checkpoint" / "checkpoint.json"
    original = path.read_bytes()
    try:
        path.write_bytes(original.replace(b'"format": 1', b'"format": 2'))
        with pytest.raises(RunVersionError, match="upgrade"):
            Checkpoint(saved).load()
    finally:
        path.write_bytes(original)


def test_a_state_that_json_cannot_hold_is_refused_and_the_old_checkpoint_stays(tmp_path):
    replay = new_replay()
    grow(replay, 10)
    save(tmp_path, replay)
    with pytest.raises(TypeError, match="cannot be stored"):
        Checkpoint(tmp_path).save({}, {"x": object()}, replay)
    assert check(tmp_path) == 10
