"""Whole runs on disks that fill up and in folders that were damaged: a clear error, nothing lost, and a way on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_runs import StopAt, assert_same_end, same, small, weights
from wrapped_file import WrappedFile

import muzen
import muzen.files
from muzen.cli import main
from muzen.errors import MuzenError, StorageError
from muzen.runs import Checkpoint, metrics

SETTINGS = {"env_steps": 320, "checkpoint_minutes": 0.0}


# Each test is a run or more.
pytestmark = [pytest.mark.usefixtures("frequent_reports"), pytest.mark.slow]


class Disk:
    """Room for a number of bytes more; what exceeds it is cut off and refused."""

    def __init__(self, patch, room=None):
        self.room, self.written = room, 0
        for module in (muzen.files, metrics):
            patch.setattr(module, "open", self.open, raising=False)

    def open(self, *args, **kwargs):
        return Written(open(*args, **kwargs), self)

    def take(self, size):
        """How many of these bytes still fit."""
        fits = size if self.room is None else max(0, min(size, self.room - self.written))
        self.written += fits
        return fits


class Written(WrappedFile):
    """A file on that disk."""

    def __init__(self, file, disk):
        super().__init__(file)
        self.disk = disk

    def write(self, data):
        fits = self.disk.take(len(data))
        self.file.write(data[:fits])
        if fits < len(data):
            raise OSError(28, os.strerror(28))
        return fits


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory, frequent_reports):
    """A run that nothing happened to, and how many bytes it wrote, a checkpoint a turn included."""
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch)
        run = muzen.train("CartPole-v1", config=small(**SETTINGS), out=tmp_path_factory.mktemp("run") / "whole")
    return run, disk.written


@pytest.fixture(scope="module")
def whole(unharmed):
    return unharmed[0]


@pytest.fixture(scope="module")
def room(unharmed):
    return unharmed[1]


def filled_up(folder, shares, room):
    """Train on a disk that fills up again and again, each time after a share of what a whole run writes."""
    shares, stops = iter(shares), 0
    while True:
        share = next(shares, None)
        with pytest.MonkeyPatch.context() as patch:
            Disk(patch, None if share is None else int(share * room))
            try:
                if (folder / "checkpoint" / "checkpoint.json").exists():
                    muzen.resume(folder)
                else:
                    shutil.rmtree(folder, ignore_errors=True)
                    muzen.train("CartPole-v1", config=small(**SETTINGS), out=folder)
                return stops
            except StorageError as error:
                assert str(folder) in str(error) and "the disk is full; free some space and resume" in str(error)
                stops += 1
        assert not list(folder.rglob("*.tmp")), "what was half written takes up the full disk"
        if share > 0.05:
            assert Checkpoint(folder).load().state["env_steps"] > 0


def test_a_run_whose_disk_filled_up_twice_ends_with_the_same_bytes(whole, room, tmp_path):
    assert filled_up(tmp_path / "run", [0.3, 0.4], room) == 2
    assert_same_end(tmp_path / "run", whole)


@pytest.mark.long
def test_a_run_whose_disk_fills_up_at_any_time_ends_with_the_same_bytes(whole, room, tmp_path):
    for i, shares in enumerate(np.random.default_rng(0).uniform(0.0, 0.3, (3, 5))):
        assert filled_up(tmp_path / str(i), [1e-5, *shares], room) >= 5
        assert_same_end(tmp_path / str(i), whole)


def test_the_command_line_ends_with_one_line_when_the_disk_is_full(whole, tmp_path, capsys, monkeypatch):
    folder = shutil.copytree(whole.folder, tmp_path / "run")
    with monkeypatch.context() as patch:
        Disk(patch, 1000)
        assert main(["resume", str(folder), "--env-steps", "400"]) == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith(f"StorageError: {folder}") and "the disk is full" in said
    assert same(weights(folder), weights(whole.folder))


LIMITED = """
import resource, sys
import muzen.experiment.run
from muzen.cli import main
from muzen.progress import Progress
muzen.experiment.run.REPORT_STEPS = 100
Progress.on_report = lambda *_: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
sys.exit(main(["train", "--config", {config!r}, "--out", {out!r}]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_when_the_system_refuses_to_write_the_run_ends_and_resumes_to_the_same_bytes(whole, tmp_path):
    folder, config = tmp_path / "run", whole.folder / "config.json"
    code = LIMITED.format(config=str(config), out=str(folder))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and f"StorageError: {folder}" in done.stderr
    assert 0 < muzen.load(folder).env_steps < 200
    muzen.resume(folder)
    assert_same_end(folder, whole)


# Every kind of file that a run folder has, and the commands that read it.
READERS = {
    "config.json": ("evaluate", "resume", "plot"),
    "run.json": ("evaluate", "resume", "plot"),
    "metrics.jsonl": ("resume", "plot"),
    "evaluation.json": ("plot",),
    "checkpoint/checkpoint.json": ("evaluate", "resume"),
    "checkpoint/arrays-*.npz": ("evaluate", "resume"),
    "checkpoint/replay/rows-*.npz": ("resume",),
    "checkpoint/replay/targets-*.npz": ("resume",),
}
DAMAGE = {
    "a byte changed": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 0x80]) + data[len(data) // 2 + 1 :]
    ),
    "its first half": lambda data: data[: len(data) // 2],
    "noise": lambda data: np.random.default_rng(0).bytes(500) + b"\n",
    "nothing": lambda data: b"",
    "other words": lambda data: b'{"format": 1, "returns": "x", "checkpoint": [], "facts": 3}\n',
    "a list": lambda data: b"[1, 2]\n",
    "gone": None,
    "a folder": None,
}
# What a damaged table or a missing evaluation leaves is a shorter one, as a kill or a stopped run does.
BEARABLE = {
    ("metrics.jsonl", "its first half"),
    ("metrics.jsonl", "nothing"),
    ("metrics.jsonl", "gone"),
    ("evaluation.json", "gone"),
}


def contents(folder):
    """Every file but the lock, which says who used the folder last."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def damage(path, kind):
    original = path.read_bytes()
    if DAMAGE[kind] is not None:
        path.write_bytes(DAMAGE[kind](original))
    else:
        path.unlink()
        if kind == "a folder":
            path.mkdir()
    return original


def repair(path, original):
    if path.is_dir():
        path.rmdir()
    path.write_bytes(original)


@pytest.fixture(scope="module")
def halfway(tmp_path_factory, whole):
    """A run that was stopped, with the evaluation of another one beside it."""
    folder = tmp_path_factory.mktemp("run") / "halfway"
    stopped = muzen.train("CartPole-v1", config=small(**SETTINGS), out=folder, callbacks=[StopAt(200)])
    assert stopped.stopped == "test"
    shutil.copy(whole.folder / "evaluation.json", folder)
    return folder


@pytest.mark.parametrize(("file", "command"), [(file, command) for file in READERS for command in READERS[file]])
def test_a_damaged_folder_is_one_line_of_error_and_nothing_else_is_touched(halfway, tmp_path, capsys, file, command):
    folder = shutil.copytree(halfway, tmp_path / "run")
    (path,) = folder.glob(file)
    for kind in DAMAGE:
        if (file, kind) in BEARABLE:
            continue
        original = damage(path, kind)
        before = contents(folder)
        assert main([command, str(folder)]) == 2, kind
        said = capsys.readouterr()
        assert str(folder) in said.err and said.err.count("\n") == 1 and said.out == "", kind
        assert issubclass(getattr(muzen.errors, said.err.partition(":")[0]), MuzenError)
        assert contents(folder) == before, kind
        repair(path, original)


def test_a_run_goes_on_to_the_same_bytes_once_its_damaged_files_are_restored(halfway, whole, tmp_path, capsys):
    folder = shutil.copytree(halfway, tmp_path / "run")
    for file in READERS:
        (path,) = folder.glob(file)
        original = damage(path, "a byte changed")
        assert file == "evaluation.json" or main(["resume", str(folder)]) == 2
        repair(path, original)
    assert main(["resume", str(folder)]) == 0
    assert_same_end(folder, whole)


@pytest.mark.parametrize(("file", "kind"), sorted(BEARABLE))
def test_a_shorter_table_and_a_missing_evaluation_can_be_borne(halfway, tmp_path, file, kind):
    folder = shutil.copytree(halfway, tmp_path / "run")
    damage(folder / file, kind)
    assert main(["plot", str(folder)]) == 0


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_byte_changed_anywhere_is_an_error_of_muzen_or_harmless(halfway, tmp_path, data):
    folder = tmp_path / "run"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(halfway, folder)
    (path,) = folder.glob(data.draw(st.sampled_from(sorted(READERS))))
    original = path.read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    path.write_bytes(original[:at] + bytes([original[at] ^ data.draw(st.integers(1, 255))]) + original[at + 1 :])
    for argv in (["evaluate", "--episodes", "1"], ["plot"]):
        assert main([argv[0], str(folder), *argv[1:]]) in (0, 2)
