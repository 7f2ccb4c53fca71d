"""The same bytes from the same seed, machine and threads: after any interruption, and told where it cannot be so."""

from __future__ import annotations

import concurrent.futures
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import assert_same_end, small

import muzen
from muzen.callbacks import Callback
from muzen.cli import main
from muzen.envs.gymnasium import GymnasiumEnvironment
from muzen.errors import RunNotFoundError
from muzen.experiment import Experiment
from muzen.replay import Replay
from muzen.runs import Checkpoint, Metrics

SHORT = {"env_steps": 320, "checkpoint_minutes": 0.0}
# Whatever changes the run's state or its folder; an interruption falls before or after one of their calls.
POINTS = (
    (Experiment, ("act", "learn", "report", "checkpoint")),
    (Replay, ("add", "sample", "write_targets", "save")),
    (GymnasiumEnvironment, ("step", "reset")),
    (Metrics, ("write",)),
    (os, ("fsync", "replace")),
    (Path, ("unlink",)),
)


class Killed(BaseException):
    """What a kill looks like from inside: nothing after it runs."""


class Killer:
    """Counts the moments at which a run may be interrupted, and kills it at one of them."""

    def __init__(self, patch):
        self.passed, self.last = 0, None
        for owner, names in POINTS:
            for name in names:
                patch.setattr(owner, name, self.watched(getattr(owner, name)))

    def watched(self, function):
        def call(*args, **kwargs):
            self.tick()
            answer = function(*args, **kwargs)
            self.tick()
            return answer

        return call

    def tick(self):
        self.passed += 1
        if self.last is not None and self.passed > self.last:
            raise Killed


# Each test is a run or more.
pytestmark = [pytest.mark.usefixtures("frequent_reports"), pytest.mark.slow]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, frequent_reports):
    """A run that nothing interrupted, and that wrote a checkpoint only at its beginning and its end."""
    config = small(**SHORT | {"checkpoint_minutes": 1.0})
    return muzen.train("CartPole-v1", config=config, out=tmp_path_factory.mktemp("run") / "whole")


def lives(folder, killer, between):
    """Train to the end, killed again and again; the number of deaths."""
    deaths, unborn = 0, True
    while True:
        killer.passed, killer.last = 0, next(between, None)
        try:
            if unborn:
                shutil.rmtree(folder, ignore_errors=True)
                muzen.train("CartPole-v1", config=small(**SHORT), out=folder)
            else:
                muzen.resume(folder)
            return deaths
        except Killed:
            deaths += 1
        killer.last = None
        try:
            Checkpoint(folder).load()
            unborn = False
        except RunNotFoundError:
            assert unborn, "a run that had a checkpoint has none any more"


def test_a_run_killed_before_while_and_after_it_learns_ends_with_the_same_bytes(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        deaths = lives(tmp_path / "cut", Killer(patch), iter([150, 900, 700]))
    assert deaths == 3
    assert_same_end(tmp_path / "cut", whole)


@pytest.fixture
def moved(whole, tmp_path):
    """The run's folder as it would come from a machine with 64 threads."""
    folder = shutil.copytree(whole.folder, tmp_path / "moved")
    about = json.loads((folder / "run.json").read_bytes())
    about["facts"]["threads"] = 64
    (folder / "run.json").write_text(json.dumps(about))
    return folder


def test_a_run_resumed_with_other_threads_says_so(moved):
    with pytest.warns(UserWarning, match=r"moved: not resumed to the bit: threads: 64 when the run began, \d+ now"):
        muzen.resume(moved)


def test_a_callback_that_is_told_of_differences_takes_the_warnings_place(moved):
    class Listener(Callback):
        def on_difference(self, run, lines):
            self.lines = lines

    listener = Listener()
    muzen.resume(moved, callbacks=[listener, Callback()])
    (line,) = listener.lines
    assert line.startswith("threads: 64 when the run began, ")


def test_the_command_line_says_what_differs_once_and_goes_on(moved, capsys):
    assert main(["resume", str(moved)]) == 0
    assert capsys.readouterr().err.count("not resumed to the bit: threads: 64 when the run began, ") == 1


TRAIN = """
import hashlib, os, sys
sys.path.insert(0, {tests!r})
if {processors}:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:{processors}])
import muzen
from small_runs import small, weights
run = muzen.train("CartPole-v1", config=small(env_steps=400, network__width=64, learn__batch_size=128), out={out!r})
print(hashlib.sha256(b"".join(x.tobytes() for x in weights(run.folder))).hexdigest())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a process cannot choose its processors here")
def test_runs_with_the_same_recorded_threads_end_with_the_same_bytes_however_they_were_limited(tmp_path):
    def train(limit):
        name, processors, variables = limit
        code = TRAIN.format(tests=str(Path(__file__).parent), processors=processors, out=str(tmp_path / name))
        environment = {x: y for x, y in os.environ.items() if x not in ("NPROC", "PJRT_NPROC")} | variables
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return json.loads((tmp_path / name / "run.json").read_bytes())["facts"]["threads"], done.stdout

    all_threads, unlimited = train(("all", 0, {}))
    with concurrent.futures.ThreadPoolExecutor() as pool:  # of one thread each
        (one, limited), (told, said) = pool.map(train, [("one", 1, {}), ("told", 0, {"NPROC": "1"})])
    assert one == told == 1 and limited == said
    assert all_threads > 1 or unlimited == limited


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_run_killed_at_any_moments_ends_with_the_same_bytes(whole, tmp_path, monkeypatch, seed):
    chance = random.Random(seed)
    moments = iter([chance.randint(1, 700) for _ in range(10)])
    with monkeypatch.context() as patch:
        deaths = lives(tmp_path / "cut", Killer(patch), moments)
    assert deaths > 5
    assert_same_end(tmp_path / "cut", whole)
