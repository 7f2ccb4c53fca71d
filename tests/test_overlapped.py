"""The overlapped schedule: acting and learning at once, with what one seed promises kept."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest
from small_runs import StopAt, assert_same_end, same, small, table, weights

import muzen
from muzen.envs import make
from muzen.experiment import Experiment
from muzen.runs import Checkpoint, RunFolder

WAIT_S = 60.0


SHORT = {"env_steps": 320, "replay__priority_alpha": 0.6}


# Each test is a run or more.
pytestmark = [pytest.mark.usefixtures("frequent_reports"), pytest.mark.slow]


def overlapped(**changes):
    return small(schedule="overlapped", **SHORT | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, frequent_reports) -> muzen.Run:
    return muzen.train("CartPole-v1", config=overlapped(), out=tmp_path_factory.mktemp("run") / "a")


def started(folder, **changes) -> Experiment:
    config = overlapped(**changes)
    return Experiment(config, RunFolder.create(folder, config), lambda: make("CartPole-v1"))


def test_two_overlapped_runs_with_one_seed_end_with_the_same_bytes(finished, tmp_path):
    again = muzen.train("CartPole-v1", config=overlapped(), out=tmp_path / "b")
    assert same(weights(finished.folder), weights(again.folder))
    assert table(finished.folder) == table(again.folder)
    assert again.evaluation == finished.evaluation


def test_an_overlapped_run_cut_in_two_ends_with_the_same_bytes(finished, tmp_path):
    stopped = muzen.train("CartPole-v1", config=overlapped(), out=tmp_path / "c", callbacks=[StopAt(200)])
    assert stopped.stopped == "test"
    assert Checkpoint(tmp_path / "c").load().state["owed_updates"] >= 1, "nothing was owed where the run was cut"
    assert_same_end(muzen.resume(tmp_path / "c").folder, finished)


class AtOnce:
    """In the place of the thread: the gradient steps are over before acting begins."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, job, *arguments):
        done: Future = Future()
        done.set_result(job(*arguments))
        return done


class AtLast(AtOnce):
    """In the place of the thread: the gradient steps begin when acting is over and asks for them."""

    def submit(self, job, *arguments):
        class Job:
            def result(self):
                return job(*arguments)

        return Job()


@pytest.mark.parametrize("executor", [AtOnce, AtLast])
def test_which_thread_is_faster_changes_no_byte(finished, tmp_path, monkeypatch, executor):
    """At the two ends of all timings there is no thread to race with, and the weights are those of the threaded run."""
    monkeypatch.setattr("muzen.experiment.run.ThreadPoolExecutor", executor)
    alone = muzen.train("CartPole-v1", config=overlapped(), out=tmp_path / "alone")
    assert same(weights(finished.folder), weights(alone.folder))
    assert table(finished.folder) == table(alone.folder)


def test_an_overlapped_run_learns_as_much_from_as_many_steps_as_any(finished):
    last = finished.metrics[-1]
    # A run's first turn of learning counts whole, and less than a call is owed at its end.
    assert last["updates"] == pytest.approx((last["env_steps"] - 64) * 16 / 32, abs=4 * 16 / 32 + 2)


class Watched:
    """A replay that remembers which threads called what."""

    def __init__(self, replay):
        self.replay, self.calls = replay, set()

    def __getattr__(self, name):
        self.calls.add((threading.current_thread().name, name))
        return getattr(self.replay, name)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A run, what it owed after each turn, replay's calls, and the learner of each turn, which no turn may change."""
    run = started(tmp_path_factory.mktemp("run") / "watched", env_steps=200)
    replay = run.replay = run.reanalyse.replay = Watched(run.replay)
    run.checkpoint = lambda: None
    plan, step, turn = run._act_plan, run.reanalyse.step, run.owe
    before, owed = [], []

    def remember():
        before.append(run.learner)
        return plan()

    def compare(steps, fresh):
        assert run.learner is before[-1] or run.updates == 0, "the weights changed in mid-turn"
        return step(steps, fresh)

    def owe(steps):
        turn(steps)
        owed.append(run.owed_updates)

    run._act_plan, run.reanalyse.step, run.owe = remember, compare, owe
    run.run()
    run.close()
    return run, owed, replay.calls, before


def test_replay_is_touched_by_the_acting_thread_alone(watched):
    _, _, calls, _ = watched
    assert {thread for thread, _ in calls} == {threading.main_thread().name}
    assert {"add", "sample", "update_priorities", "write_targets"} <= {name for _, name in calls}


def test_no_more_is_ever_owed_than_one_turn_and_one_call(watched):
    run, owed, _, _ = watched
    a_turn = run.config.act.environments * run.config.learn.samples_per_step / run.config.learn.batch_size
    assert len(owed) > 20 and max(owed) < a_turn + run.updates_per_call


def test_weights_that_act_change_only_between_turns(watched):
    _, _, _, before = watched
    assert len({id(learner) for learner in before}) > 20


def test_acting_and_learning_are_under_way_at_the_same_time(tmp_path):
    run = started(tmp_path / "run")
    learning, acted = threading.Event(), threading.Event()
    learn, plan, begin = run._learn, run._act_plan, run._begin_updates
    begun = []

    def begins(learner):
        owed = run.owed_updates
        finish = begin(learner)
        begun.append(run.owed_updates < owed)
        return finish

    def wait_for_acting(state, batches, scale):
        assert threading.current_thread() is not threading.main_thread()
        learning.set()
        assert acted.wait(WAIT_S), "acting waits for learning"
        return learn(state, batches, scale)

    def wait_for_learning():
        if begun[-1] and run.updates == 0:
            assert learning.wait(WAIT_S), "learning waits for acting"
            found = plan()
            acted.set()
            run.stop("seen")
            return found
        return plan()

    wait_for_acting.compile = learn.compile
    run._learn, run._act_plan, run._begin_updates = wait_for_acting, wait_for_learning, begins
    assert run.run() == "seen"
    run.close()
    assert learning.is_set() and acted.is_set() and run.updates == run.updates_per_call


def test_an_error_of_the_learners_thread_ends_the_run_with_its_own_traceback(tmp_path):
    run = started(tmp_path / "run", checkpoint_minutes=0.0)
    learn = run._learn

    def breaks(state, batches, scale):
        if run.updates >= 40:
            raise MemoryError("planted in the learner")
        return learn(state, batches, scale)

    breaks.compile = learn.compile
    run._learn = breaks
    with pytest.raises(MemoryError, match="planted in the learner") as caught:
        run.run()
    run.close()
    assert "breaks" in [entry.name for entry in caught.traceback]
    assert not [t for t in threading.enumerate() if t.name.startswith("muzen-learner")]
    assert 0 < Checkpoint(tmp_path / "run").load().state["updates"] <= 40


def test_an_error_of_acting_waits_for_the_learner_and_leaves_no_thread(tmp_path):
    run = started(tmp_path / "run")
    plan = run._act_plan

    def breaks():
        if run.updates >= 8:
            raise MemoryError("planted in acting")
        return plan()

    run._act_plan = breaks
    with pytest.raises(MemoryError, match="planted in acting"):
        run.run()
    run.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("muzen-learner")]
