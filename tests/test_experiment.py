"""A whole run, small: reproducible to the bit, resumable from anywhere, stopped safely by everything that stops it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import equinox as eqx
import gymnasium
import jax
import numpy as np
import pytest
from small_runs import SMALL, UNTAUGHT, StopAt, assert_same_end, same, small, table, undocumented, weights

import muzen
from muzen import api
from muzen.actors import Plan
from muzen.actors.rollout import Ended
from muzen.callbacks import Callback
from muzen.config import Config, NetworkConfig, override
from muzen.envs import make
from muzen.errors import (
    ConfigError,
    EnvError,
    NonFiniteLossError,
    RunDamagedError,
    RunExistsError,
    RunNotFoundError,
    StorageError,
)
from muzen.experiment import Experiment
from muzen.learner import Report
from muzen.networks import make_network
from muzen.presets import preset
from muzen.runs import Checkpoint, RunFolder
from muzen.types import EnvSpec, TimeStep


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> muzen.Run:
    return muzen.train("CartPole-v1", config=small(), out=tmp_path_factory.mktemp("run") / "a")


def test_a_finished_run_has_an_evaluation_and_uses_its_whole_budget(finished):
    result = finished.evaluation
    assert finished.stopped == "finished"
    assert result["env_id"] == "CartPole-v1" and result["episodes"] == 3 == len(result["returns"])
    assert 640 <= result["env_steps_trained"] < 640 + 4
    assert finished.metrics[-1]["env_steps"] == result["env_steps_trained"]


def test_every_column_of_the_metrics_is_explained(finished):
    assert len(finished.metrics[-1]) > 30 and not undocumented(finished.metrics)
    assert undocumented([{"unheard_of": 1.0}]) == {"unheard_of"}


def test_sampled_sequences_per_environment_step_are_as_configured(finished):
    last = finished.metrics[-1]
    learning_steps = last["env_steps"] - 64
    assert last["updates"] * 32 == pytest.approx(16 * learning_steps, abs=16 * 4 + 8 * 32)


@pytest.mark.slow
def test_two_runs_with_one_seed_end_with_the_same_bytes(finished, tmp_path):
    again = muzen.train("CartPole-v1", config=small(), out=tmp_path / "b")
    assert same(weights(finished.folder), weights(again.folder))
    assert table(finished.folder) == table(again.folder)
    assert again.evaluation == finished.evaluation


@pytest.mark.slow
def test_another_seed_ends_elsewhere(finished, tmp_path):
    other = muzen.train("CartPole-v1", config=small(), seed=1, out=tmp_path / "c")
    assert not same(weights(finished.folder), weights(other.folder))


def test_interrupted_and_resumed_equals_uninterrupted(finished, tmp_path):
    stopped = muzen.train("CartPole-v1", config=small(), out=tmp_path / "d", callbacks=[StopAt(500)])
    assert stopped.stopped == "test" and not stopped.evaluation
    resumed = muzen.resume(tmp_path / "d")
    assert resumed.stopped == "finished"
    assert_same_end(resumed.folder, finished)


@pytest.fixture
def starting(tmp_path):
    """A run before its first step, whose noise lasts 8 steps while it is blind."""
    config = small(act__blind_hold_steps=8.0, act__blind_temperature=20.0, act__temperature=2.0, act__noise_steps=3.0)
    experiment = Experiment(config, RunFolder.create(tmp_path / "run", config), lambda: make("CartPole-v1"))
    yield experiment
    experiment.close()


@pytest.mark.parametrize(
    ("explained", "noisy", "steps"),
    [(-3.0, True, 8), (0.0, True, 8), (0.0, False, 8), (0.5, True, 8**0.5), (1.0, True, 1), (1.0, False, 3)],
)
def test_noise_is_held_while_the_value_explains_nothing_and_between_spells(starting, explained, noisy, steps):
    starting.value_explained = explained
    starting.noisy[:] = noisy
    environments = starting.config.act.environments
    kept = np.zeros(environments)
    last = jax.random.key_data(starting._noise_keys())
    for turn in range(1, 401):
        starting.turn = turn
        now = jax.random.key_data(starting._noise_keys())
        kept += (now == last).all(axis=1)
        assert len(np.unique(now, axis=0)) == environments
        last = now
    np.testing.assert_allclose(kept / 400, 1 - 1 / steps, atol=0.08 if steps > 1 else 0)


def test_noise_is_strong_while_the_value_explains_nothing(starting):
    sighted = np.geomspace(2, 5, starting.config.act.environments)
    starting.noisy[:] = True
    for explained, temperature in ((-3.0, 20.0), (0.5, (20 * sighted) ** 0.5), (1.0, sighted)):
        starting.value_explained = explained
        np.testing.assert_allclose(starting.exploration(), temperature, rtol=1e-6)


def test_noise_comes_in_spells_and_never_ends_while_the_value_explains_nothing(starting):
    environments = starting.config.act.environments
    seen = []
    for _ in range(2000):
        starting._begin_or_end_spells()
        seen.append(starting.noisy)
        starting.value_explained = 0.0
        np.testing.assert_allclose(starting.exploration(), 20.0, rtol=1e-6)
        starting.value_explained = 1.0
        sighted = np.where(starting.noisy, np.geomspace(2, 5, environments), 2)
        np.testing.assert_allclose(starting.exploration(), sighted, rtol=1e-6)
    assert np.mean(seen) == pytest.approx(0.5, abs=0.08)
    assert np.diff(np.array(seen), axis=0).mean() == pytest.approx(1 / 3, abs=0.03)


class Rising:
    """Every step pays 2, until 100 steps have been taken: from then on it pays 20, ten times what was seen before."""

    spec = EnvSpec("rising", (1,), "float32", 2)

    def __init__(self):
        self.steps = 0

    def reset(self, seed: int) -> TimeStep:
        return TimeStep(np.zeros(1, np.float32), np.zeros(1, np.float32), False, False, 0, np.ones(2, bool))

    def step(self, action: int) -> TimeStep:
        self.steps += 1
        now = self.reset(0)
        return now._replace(reward=np.full(1, 2.0 if self.steps <= 100 else 20.0, np.float32))

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("limit", "cut"), [(2.0, 16 / 20), (5.0, 10 / 20), (0.0, 0.0)])
def test_reward_beyond_its_support_is_reported(tmp_path, limit, cut):
    config = small(act__environments=1, act__random_steps=100, learn__samples_per_step=0.01, reward__limit=limit)
    config = override(config, {"reanalyse.positions_per_step": 0.0, "env_steps": 620})
    experiment = Experiment(config, RunFolder.create(tmp_path / "run", config), Rising)
    experiment.run()
    experiment.close()
    last = table(tmp_path / "run")[-1]  # of the steps after the 500th alone
    assert last["reward_cut"] / last["reward_size"] == pytest.approx(cut)
    assert last["reward_largest"] == 10.0  # in units of what the random steps paid
    again = Experiment(config, RunFolder.open(tmp_path / "run"), Rising)
    again.restore()
    assert again.reward_limit == (limit or 100.0) and again.reward_scale == 2.0
    again.close()


def test_every_environment_of_a_run_has_its_spells(tmp_path):
    seen = []
    run = diced(tmp_path / "a", act__noise_steps=3.0)
    for _ in range(60):
        run.act()
        seen.append(run.noisy)
    assert (np.any(seen, axis=0) & ~np.all(seen, axis=0)).all()
    run.close()


@pytest.mark.slow
def test_a_run_from_before_there_were_spells_goes_on_without(tmp_path):
    played(tmp_path / "a", 22, act__noise_steps=0.0)
    saved = Checkpoint(tmp_path / "a").load()
    older = {name: x for name, x in saved.arrays.items() if name != "rollout/noisy"}
    run = diced(tmp_path / "a", act__noise_steps=0.0)
    Checkpoint(tmp_path / "a").save(older, saved.state, run.replay)
    run.close()
    again = diced(tmp_path / "a", act__noise_steps=0.0)
    assert again.noisy.all() and again.turn == run.turn > 0
    again.close()


def test_noise_without_spells_never_ends(tmp_path):
    config = small(act__noise_steps=0.0)
    experiment = Experiment(config, RunFolder.create(tmp_path / "run", config), lambda: make("CartPole-v1"))
    experiment._begin_or_end_spells()
    assert experiment.noisy.all()
    experiment.close()


def test_q_is_rescaled_by_all_that_values_spread_over_while_the_value_explains_nothing(starting):
    starting.value_spread, share = 50.0, starting.config.search.span_floor
    assert 0 < share < 0.1
    for explained, floor in ((-3.0, 50.0), (0.5, 50 * share**0.5), (1.0, 50 * share)):
        starting.value_explained = explained
        assert starting.span_floor() == pytest.approx(floor)


def test_a_span_floor_of_nothing_stays_nothing(tmp_path):
    config = small(search__span_floor=0.0)
    experiment = Experiment(config, RunFolder.create(tmp_path / "run", config), lambda: make("CartPole-v1"))
    experiment.value_spread = 50.0
    assert experiment.span_floor() == 0
    experiment.close()


def test_blindness_is_what_the_value_of_late_gradient_steps_leaves_unexplained(starting):
    assert starting.blindness() == 1
    starting.least_spread = 10.0
    nothing = Report(*np.zeros((len(Report._fields), 8)))
    for explained, spread, blindness in ((1.0, 0.0, 1.0), (0.9, 5.0, 0.1), (0.4, 5.0, 0.6), (1.0, 1e-7, 1.0)):
        told = nothing._replace(value_spread=np.full(8, spread))
        for _ in range(100):
            starting._collect(told._replace(value_explained=np.linspace(-0.1, 0.1, 8) + explained))
        assert starting.blindness() == pytest.approx(blindness, abs=1e-3)


def test_a_loaded_agent_acts_as_the_run_does(finished):
    agent = muzen.load(finished.folder)
    observation, _ = gymnasium.make("CartPole-v1").reset(seed=0)
    found = agent.search(observation)
    assert agent.act(observation) == int(found.action[0]) in (0, 1)
    assert found.policy.shape == (1, 2) and found.value.shape == (1, 1)
    assert muzen.evaluate(finished.folder, episodes=3, seed=1_000_000)["returns"] == finished.evaluation["returns"]


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, alpha):
    class Poison(Callback):
        def on_report(self, run, row):
            run.checkpoint()
            network = jax.tree.map(lambda x: x * np.nan if eqx.is_inexact_array(x) else x, run.learner.model.network)
            run.learner = run.learner._replace(model=eqx.tree_at(lambda m: m.network, run.learner.model, network))

    with pytest.raises(NonFiniteLossError, match=r"value_loss.*is not finite.*--warm-start.*--learn.learning-rate"):
        config = small(replay__priority_alpha=alpha)
        muzen.train("CartPole-v1", config=config, out=tmp_path / "e", callbacks=[Poison()])
    assert all(np.isfinite(x).all() for x in weights(tmp_path / "e"))


def test_a_run_folder_that_exists_is_not_overwritten(finished):
    before = sorted(p.stat().st_mtime_ns for p in finished.folder.rglob("*"))
    with pytest.raises(RunExistsError, match="resume"):
        muzen.train("CartPole-v1", config=small(), out=finished.folder)
    assert before == sorted(p.stat().st_mtime_ns for p in finished.folder.rglob("*"))


@pytest.mark.parametrize(
    ("changes", "options", "error"),
    [
        ({}, {"warm_start": "nowhere"}, RunNotFoundError),
        ({"network__kind": "resnet"}, {}, ConfigError),
        ({"replay__max_gb": 1e-6}, {}, ConfigError),
        ({"learn__reconstruction_weight": 1.0}, {}, ConfigError),
        ({"evaluate__opponents": "minimax:5"}, {}, ConfigError),
        ({"search__model": "rules"}, {}, ConfigError),
        ({}, {"network": object()}, ConfigError),
        ({}, {"value_encoding": 3}, ConfigError),
        ({}, {"callbacks": Callback()}, ConfigError),
    ],
)
def test_what_is_refused_leaves_no_folder_behind(tmp_path, changes, options, error):
    with pytest.raises(error):
        muzen.train("CartPole-v1", config=small(**changes), out=tmp_path / "refused", **options)
    assert not (tmp_path / "refused").exists()


def test_a_folder_that_is_no_run_says_so(tmp_path):
    with pytest.raises(RunNotFoundError):
        muzen.load(tmp_path / "nowhere")
    with pytest.raises(RunNotFoundError):
        muzen.resume(tmp_path)


def with_setting(run: muzen.Run, folder: Path, before: str, after: str) -> Path:
    """A copy of the run's folder whose config.json says `after` in place of `before`."""
    shutil.copytree(run.folder, folder)
    text = (folder / "config.json").read_text()
    assert before in text
    json.loads(text.replace(before, after))
    (folder / "config.json").write_text(text.replace(before, after))
    return folder


def test_another_network_does_not_load_silently(finished, tmp_path):
    folder = with_setting(finished, tmp_path / "f", '"width": 16', '"width": 24')
    with pytest.raises(RunDamagedError, match="of shape"):
        muzen.load(folder)


def test_a_run_of_another_optimiser_is_played_and_not_resumed(finished, tmp_path):
    folder = with_setting(finished, tmp_path / "f", '"optimizer": "adam"', '"optimizer": "muon"')
    assert muzen.load(folder).env_steps > 0
    with pytest.raises(RunDamagedError, match=r"optimiser is missing.*learn\.optimizer"):
        muzen.resume(folder, env_steps=1_000)


@pytest.mark.slow
def test_a_warm_start_goes_on_with_what_the_other_run_learned(finished, tmp_path):
    """Its weights mean something in its own units only: those of values, rewards and observations come with them."""

    class Watch(Callback):
        def on_start(self, run):
            leaves = jax.tree.leaves(eqx.filter(run.learner.model, eqx.is_array))
            self.weights = [np.asarray(x) for x in leaves]
            self.explained = run.value_explained

    def units(run: muzen.Run):
        model = muzen.load(run.folder).model
        return [float(x) for e in (model.value_encoding, model.reward_encoding) for x in (e.limit, e.scale)]

    def ten_times() -> gymnasium.Env:
        return gymnasium.wrappers.TransformReward(gymnasium.make("CartPole-v1"), lambda reward: 10 * reward)

    seen = Watch()
    config = small(env_steps=400, learn__learning_rate=1e-30, learn__warmup_updates=0)
    begun = {"out": tmp_path / "g", "warm_start": finished.folder, "callbacks": [seen]}
    warm = muzen.train(ten_times, config=config, **begun)
    assert same(seen.weights, weights(finished.folder))
    assert seen.explained == Checkpoint(finished.folder).load().state["value_explained"] != 0
    assert units(warm) == units(finished)
    before, after = (np.asarray(muzen.load(run.folder).model.observation_std) for run in (finished, warm))
    seen_before = Checkpoint(finished.folder).load().state["normaliser_count"]
    now = Checkpoint(warm.folder).load()
    assert now.state["normaliser_count"] > seen_before and now.state["warm"]
    assert not np.array_equal(before, after) and np.abs(after / before - 1).max() < 1  # moved on, not begun anew
    resumed = muzen.resume(warm.folder, env=ten_times, env_steps=500)
    assert units(resumed) == units(finished)
    fresh = muzen.train(ten_times, config=config, out=tmp_path / "fresh")
    assert units(fresh) != units(finished)


def test_no_step_of_a_warm_start_is_random(starting, monkeypatch):
    taken, plan = [], starting._act_plan
    monkeypatch.setattr(starting, "_act_plan", lambda: plan()._replace(action=np.ones(4, np.int32)))
    step = starting.rollout.step
    monkeypatch.setattr(starting.rollout, "step", lambda plan, **how: taken.append(plan.action) or step(plan, **how))
    for warm in (True, False):
        starting.warm = warm
        taken.clear()
        for _ in range(5):
            starting.act()
        assert (np.concatenate(taken) == 1).all() == warm


def test_a_warm_start_in_which_numbers_mean_something_else_is_refused(finished, tmp_path):
    changes = {"value__limit": 50.0, "network__state_scaling": "tanh", "reward__transform": False}
    for name, value in (changes | {"learn__discount": 0.9}).items():
        said = f"{name.replace('__', '.')}: {value}, but the (weights|values) of .* (were learned with|reach as far)"
        with pytest.raises(ConfigError, match=said):
            muzen.train("CartPole-v1", config=small(**{name: value}), out=tmp_path / "h", warm_start=finished.folder)
    assert not (tmp_path / "h").exists()


def test_a_wall_clock_budget_ends_the_run(tmp_path):
    config, late = small(env_steps=10**7, minutes=0.02), StopAt(10**5)
    run = muzen.train("CartPole-v1", config=config, out=tmp_path / "h", callbacks=[late])
    assert run.stopped == "finished" and run.evaluation["env_steps_trained"] < 10**5


@pytest.mark.slow
def test_the_switches_that_no_preset_turns_make_a_run_together(tmp_path):
    settings = {"search__rule": "puct", "value__coding": "hl_gauss", "reward__coding": "hl_gauss"}
    learning = {"learn__bootstrap": "target", "learn__optimizer": "sgd", "learn__learning_rate": 0.01}
    config = small(env_steps=200, replay__priority_alpha=1.0, **settings, **learning)
    run = muzen.train("CartPole-v1", config=config, out=tmp_path / "run")
    assert np.isfinite([row["loss"] for row in run.metrics if "loss" in row]).all()
    again = muzen.load(tmp_path / "run")
    assert (type(again.planner.rule).__name__, again.planner.rule.dirichlet_fraction) == ("Puct", 0.25)
    assert (np.asarray(again.model.value_encoding.encode(np.float32(0.3))) > 1e-3).sum() > 2  # two-hot has two
    assert not same(weights(run.folder), [x * 0 for x in weights(run.folder)])


class Masked:
    """Of three actions one is illegal, another at every step; ends after 7 steps, as the seed has it by rule or not."""

    spec = EnvSpec("masked", (2,), "float32", 3, always_legal=False)

    def _now(self) -> TimeStep:
        over = self.t == 7
        observation = np.array([self.seed % 5, self.t], np.float32)
        terminated, truncated = over and self.seed % 2 == 0, over and self.seed % 2 == 1
        return TimeStep(observation, np.ones(1, np.float32), terminated, truncated, 0, np.arange(3) != self.t % 3)

    def reset(self, seed: int) -> TimeStep:
        self.seed, self.t = seed, 0
        return self._now()

    def step(self, action: int) -> TimeStep:
        assert action != self.t % 3, "an illegal action was taken"
        self.t += 1
        return self._now()

    def close(self) -> None:
        pass


class Dice:
    """In the place of search: plans that follow from the key, the legal actions and the temperature alone.

    Remembers what it was asked and of which model, and stops the run at its `last`-th decision of self-play.
    """

    def __init__(self, run: Experiment, last: int | None = None):
        self.run, self.last, self.acts, self.reanalysed = run, last, [], []

    @staticmethod
    def judge(model, observation, to_play) -> np.ndarray:
        return np.zeros((len(observation), 1), np.float32)

    def plan(
        self, model, observation, legal, to_play, key, *, states, previous, explore, temperature, span_floor
    ) -> Plan:
        asked = {
            "key": np.ravel(jax.random.key_data(key)).tolist(),
            "explore": explore,
            "temperature": float(temperature),
            "done": self.run.env_steps / self.run.config.env_steps,
            "moves": np.array(self.run.rollout.moves),
            "averaged": model is self.run.learner.average and model is not self.run.learner.model,
        }
        acting = len(observation) == len(self.run.rollout)
        (self.acts if acting else self.reanalysed).append(asked)
        if acting and len(self.acts) == self.last:
            self.run.stop("test")
        rng = np.random.default_rng(asked["key"])
        policy = np.where(legal, rng.random(legal.shape) ** (1 / asked["temperature"]), 0)
        policy /= policy.sum(1, keepdims=True)
        action = (policy.cumsum(1) > rng.random((len(legal), 1))).argmax(1)
        return Plan(action.astype(np.int32), policy.astype(np.float32), rng.normal(size=(len(legal), 1)))


def diced(folder: Path, last: int | None = None, **changes) -> Experiment:
    """A run, new or to be resumed, that plays by `Dice` and learns for real."""
    tiny = {
        "env_steps": 120,
        "act.random_steps": 12,
        "network.width": 4,
        "learn.unroll_steps": 1,
        "learn.batch_size": 8,
    }
    named = {name.replace("__", "."): value for name, value in changes.items()}
    config = override(Config("masked"), SMALL | tiny | {"reanalyse.batch_size": 8} | named)
    there = folder.exists()
    run = Experiment(config, RunFolder.open(folder) if there else RunFolder.create(folder, config), Masked)
    run.planner = Dice(run, last)
    if there:
        assert run.restore() == []
    return run


def played(folder: Path, last: int | None = None, learns: bool = True, **changes) -> Experiment:
    run = diced(folder, last, **changes)
    if not learns:
        run.learn = lambda: None
    run.run()
    run.close()
    return run


@pytest.mark.slow
def test_a_run_without_random_steps_learns_as_soon_as_there_is_something_to_learn_from(tmp_path):
    assert played(tmp_path / "a", 3, act__random_steps=0).updates > 0


@pytest.mark.slow
def test_every_turn_of_self_play_and_reanalysis_has_a_key_of_its_own(tmp_path):
    dice = played(tmp_path / "a", 12, learns=False, act__random_steps=0, act__blind_hold_steps=1.0).planner
    keys = [tuple(asked["key"]) for asked in dice.acts + dice.reanalysed]
    assert len(dice.reanalysed) >= 5 and len(dice.acts) == 12
    # A turn's reanalysis is several searches with one key.
    assert len(set(keys)) == 12 + len({tuple(asked["key"]) for asked in dice.reanalysed}) > 16


def test_self_play_searches_with_noise_and_reanalysis_without(tmp_path):
    dice = played(tmp_path / "a", 12, learns=False, act__random_steps=0).planner
    assert dice.acts and all(np.all(np.asarray(asked["explore"]) > 0) for asked in dice.acts)
    assert dice.reanalysed and all(asked["explore"] is False for asked in dice.reanalysed)


@pytest.mark.slow
def test_averaged_weights_act_and_reanalyse(tmp_path):
    dice = played(tmp_path / "a", 30).planner
    assert dice.run.updates > 0 and len(dice.acts) == 30 and len(dice.reanalysed) > 5
    assert all(asked["averaged"] for asked in dice.acts + dice.reanalysed)


def test_the_temperature_falls_over_the_run_in_the_papers_steps(tmp_path):
    settings = {"search__temperature": 1.0, "search__temperature_end": 0.25, "act__random_steps": 0}
    dice = played(tmp_path / "a", learns=False, **settings).planner
    for asked in dice.acts:
        assert asked["temperature"] == (1.0 if asked["done"] < 0.5 else 0.5 if asked["done"] < 0.75 else 0.25)
    assert {asked["temperature"] for asked in dice.acts} == {1.0, 0.5, 0.25}


def test_after_its_sampled_moves_an_episode_is_played_without_noise(tmp_path):
    settings = {"act__sample_moves": 3, "act__random_steps": 0, "act__temperature": 1.0, "act__temperature_last": 1.0}
    dice = played(tmp_path / "a", 25, learns=False, act__blind_temperature=1.0, **settings).planner
    late = np.array([asked["moves"] >= 3 for asked in dice.acts])
    explore = np.array([asked["explore"] for asked in dice.acts])
    assert late.any() and not late.all()
    assert (explore[~late] == 1).all() and (explore[late] < 1e-3).all()


@pytest.mark.slow
def test_priorities_are_given_to_the_rows_that_were_sampled(tmp_path, monkeypatch):
    run = diced(tmp_path / "a", replay__priority_alpha=1.0)
    learned, told = [], []
    collect = run._collect
    monkeypatch.setattr(run, "_collect", lambda report: (learned.append(np.asarray(report.priority)), collect(report)))
    sample, update = run.replay.sample, run.replay.update_priorities
    drawn = []
    monkeypatch.setattr(run.replay, "sample", lambda *a, **o: drawn.append(sample(*a, **o)) or drawn[-1])
    monkeypatch.setattr(run.replay, "update_priorities", lambda i, p: (told.append((i, p)), update(i, p)))
    run.run()
    run.close()
    assert len(told) == len(learned) > 2
    for (index, given), own, batch in zip(told, learned, drawn, strict=False):
        np.testing.assert_array_equal(index, batch.index)
        np.testing.assert_array_equal(given, own)


def test_who_would_have_resigned_and_did_not_lose_would_have_been_wrong(tmp_path, monkeypatch):
    run = diced(tmp_path / "a", act__random_steps=10**6)
    step, returns = run.rollout.step, iter([-1.0, 0.0, 1.0, 1.0])

    def played_on(plan, **options):
        rows, steps, _ = step(plan, **options)
        value = next(returns)
        hopeless = -1 if len(run.wrongly_resigned) == 3 else 0
        return rows, steps, [Ended(0, np.array([value]), 7, True, hopeless=hopeless)]

    monkeypatch.setattr(run.rollout, "step", played_on)
    for _ in range(4):
        run.act()
    assert list(run.wrongly_resigned) == [0.0, 1.0, 1.0]  # of the last nobody would have
    run.close()


def test_random_steps_take_only_legal_actions(tmp_path):
    assert played(tmp_path / "a", 30, act__random_steps=10**6).env_steps > 100


def test_a_restored_run_stands_where_the_saved_one_stood(tmp_path):
    saved = played(tmp_path / "a", 22)
    assert saved.updates > 0 and saved.env_steps > 60
    restored = diced(tmp_path / "a")
    for counter in ("env_steps", "turn", "updates", "episodes", "owed_updates"):
        assert getattr(restored, counter) == getattr(saved, counter), counter
    assert (restored.replay.steps, restored.replay.total_steps) == (saved.replay.steps, saved.replay.total_steps)
    kept = Checkpoint(tmp_path / "a").load().arrays
    for fact in ("observation", "to_play", "legal"):  # of the positions that environments stand in
        np.testing.assert_array_equal(kept[f"rollout/{fact}"], getattr(saved.rollout, fact))
    for a, b in zip(*(jax.tree.leaves(eqx.filter(r.learner, eqx.is_array)) for r in (restored, saved)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_run_cut_in_two_ends_with_the_checkpoint_of_a_run_in_one(tmp_path):
    played(tmp_path / "one")
    cut = played(tmp_path / "two", 22)
    assert 60 < cut.env_steps < 90
    assert diced(tmp_path / "two").planner.acts == []
    played(tmp_path / "two")
    one, two = (Checkpoint(tmp_path / name).load() for name in ("one", "two"))
    assert one.arrays.keys() == two.arrays.keys()
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, two.arrays[name], err_msg=name)
    assert one.state | {"seconds": 0} == two.state | {"seconds": 0}
    assert one.replay_manifest == two.replay_manifest


TRAIN = """
import sys, muzen
sys.path.insert(0, {tests!r})
from small_runs import small
config = small(env_steps={env_steps}, checkpoint_minutes=0.001)
if {resume}:
    muzen.resume({folder!r})
else:
    muzen.train("CartPole-v1", config=config, out={folder!r})
"""


def start(folder: Path, *, resume: bool, env_steps: int = 640) -> subprocess.Popen:
    code = TRAIN.format(tests=str(Path(__file__).parent), folder=str(folder), resume=resume, env_steps=env_steps)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_checkpoint(folder: Path, process: subprocess.Popen, timeout_s: float = 120) -> None:
    """Until a checkpoint holds environment steps; the first one is written before any."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        listing = folder / "checkpoint" / "checkpoint.json"
        held = json.loads(listing.read_bytes())["checkpoint"]["state"]["env_steps"] if listing.exists() else 0
        if held > 0 or process.poll() is not None:
            return
        time.sleep(0.05)
    raise TimeoutError("no checkpoint appeared")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_checkpoints_then_leaves(tmp_path, number):
    folder = tmp_path / "run"
    process = start(folder, resume=False, env_steps=10**6)
    wait_for_checkpoint(folder, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert muzen.load(folder).env_steps > 0


@pytest.mark.slow
@pytest.mark.parametrize("most", [2, pytest.param(20, marks=pytest.mark.long)])
def test_kill_at_any_moment_leaves_a_run_that_resumes_to_the_same_bytes(most, finished, tmp_path):
    folder = tmp_path / "run"
    process = start(folder, resume=False)
    wait_for_checkpoint(folder, process)
    rng = random.Random(most)
    kills = 0
    for _ in range(most):
        try:
            process.communicate(timeout=rng.uniform(0.0, 1.5) + (6.0 if kills else 0.0))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
            muzen.load(folder)
            process = start(folder, resume=True)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert kills > 0
    assert_same_end(folder, finished)


def test_an_evaluation_may_think_longer_and_wants_an_environment_that_fits(finished):
    agent = finished.agent()
    found = muzen.evaluate(agent, episodes=2, simulations=3)
    assert found["simulations"] == 3 and muzen.evaluate(agent, episodes=2)["simulations"] == 4
    with pytest.raises(EnvError, match=r"Acrobot-v1: .* trained on CartPole-v1 .* observation_shape is \(6,\) here"):
        muzen.evaluate(finished.folder, env="Acrobot-v1", episodes=1)
    with pytest.raises(ConfigError, match="simulations: 0 is below 1"):
        muzen.evaluate(finished.folder, simulations=0)
    for options, said in (({"episodes": "3"}, "episodes: '3' is not a whole number"), ({"seed": -1}, "seed: -1")):
        with pytest.raises(ConfigError, match=said):
            muzen.evaluate(agent, **options)
    with pytest.raises(ConfigError, match="network: the agent given has its own"):
        muzen.evaluate(agent, network=object())


@pytest.mark.parametrize("callbacks", [StopAt(3), [StopAt], [None]], ids=["one", "a class", "none"])
def test_what_is_no_list_of_callbacks_is_refused_and_leaves_no_folder(callbacks, tmp_path):
    with pytest.raises(ConfigError, match="callbacks: "):
        muzen.train("CartPole-v1", config=small(), out=tmp_path / "run", callbacks=callbacks)
    assert not list(tmp_path.iterdir())


def test_seconds_are_those_of_training(finished):
    # After the last row comes the last checkpoint, which a busy disk may keep waiting.
    assert 0 < finished.seconds - finished.metrics[-1]["seconds"] < 20


def test_a_run_is_found_in_its_folder_by_its_settings(finished, tmp_path):
    assert api.run_in(tmp_path, small()) is None
    found = api.run_in(finished.folder, small())
    assert found is not None and found.evaluation["returns"] == finished.evaluation["returns"]
    assert found.seconds == finished.metrics[-1]["seconds"]
    with pytest.raises(RunExistsError, match="holds a run with seed 0, not 3"):
        api.run_in(finished.folder, small(seed=3))
    began = api.began_with("elsewhere", network=small, value_encoding=None)
    assert began == {"warm_start": str(Path("elsewhere").resolve()), "network": "small_runs.small"}
    with pytest.raises(RunExistsError, match=r"holds a run with network None, not small_runs\.small"):
        api.run_in(finished.folder, small(), began)
    about = json.loads((finished.folder / "run.json").read_text())
    assert about.pop("began") == {}
    shutil.copytree(finished.folder, tmp_path / "older")
    (tmp_path / "older" / "run.json").write_text(json.dumps(about))
    assert api.run_in(tmp_path / "older", small(), began) is not None


def test_a_run_that_was_resumed_for_longer_and_stopped_is_not_finished(finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    muzen.resume(tmp_path / "run", env_steps=10**6, callbacks=[StopAt(finished.metrics[-1]["env_steps"] + 4)])
    found = api.run_in(tmp_path / "run", small(env_steps=10**6))
    assert found is not None and not found.evaluation and not found.stopped


@pytest.mark.parametrize("budget", [{"env_steps": 100}, {"env_steps": 10**6, "minutes": 1e-6}])
def test_a_new_budget_that_is_spent_already_is_refused_and_changes_nothing(budget, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    with pytest.raises(ConfigError, match=f"^{list(budget)[-1]}: .*in the end"):
        muzen.resume(tmp_path / "run", **budget)
    assert (tmp_path / "run" / "config.json").read_bytes() == (finished.folder / "config.json").read_bytes()


def cart_pole():
    return gymnasium.make("CartPole-v1")


def test_settings_of_another_environment_do_not_rename_the_one_that_is_trained_on(tmp_path):
    config = override(preset("CartPole-v1"), UNTAUGHT)
    run = muzen.train(cart_pole, config=config, out=tmp_path / "run")
    assert run.config.env_id == f"python:{__name__}:cart_pole"
    with pytest.raises(EnvError, match="name it again"):
        muzen.resume(run.folder, env_steps=40)
    assert muzen.resume(run.folder, env="CartPole-v1", env_steps=40).stopped == "finished"
    with pytest.raises(EnvError, match="name it again"):  # of code, though something else was played since
        muzen.evaluate(run.folder, episodes=1)
    with pytest.raises(EnvError, match="observation_shape"):
        muzen.resume(run.folder, env="Acrobot-v1", env_steps=60)


def test_a_place_of_our_choice_is_taken_at_once_and_given_up_where_nothing_comes_of_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with api.place(None, "openspiel:pig(players=3)", "seed0") as first, api.place(None, first.name, "x") as other:
        with api.place(None, "openspiel:pig(players=3)", "seed0") as second:
            assert first.is_dir() and second.is_dir() and second.name == f"{first.name}-2" and other != second
        (first / "config.json").touch()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [first.name]
    with pytest.raises(ConfigError):
        muzen.train("CartPole-v1", search__simulations=0)
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(RunNotFoundError):
        muzen.train("CartPole-v1", warm_start="nowhere")
    assert not list(tmp_path.glob("b/*"))
    (tmp_path / "b" / "runs").touch()
    with pytest.raises(StorageError, match="runs"):
        muzen.train("CartPole-v1")


def test_a_budget_beyond_counting_is_no_limit(tmp_path):
    config = override(preset("CartPole-v1"), UNTAUGHT | {"env_steps": 10**11})
    run = muzen.train(
        "CartPole-v1", config=config, out=tmp_path / "run", callbacks=[StopAt(0)], act__random_steps=10**6
    )
    assert run.stopped == "test"


class Interrupts(Callback):
    """Ctrl-C while the last report is written."""

    def on_report(self, run, row):
        if run.finished:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_in_the_last_turn_is_heard_and_the_run_evaluated_later(tmp_path):
    config = override(preset("CartPole-v1"), UNTAUGHT)
    run = muzen.train("CartPole-v1", config=config, out=tmp_path / "run", callbacks=[Interrupts()])
    assert run.stopped == "SIGINT" and not run.evaluation
    assert muzen.resume(run.folder).evaluation


def test_episodes_that_ended_by_rule_are_counted_over_the_whole_run(finished):
    counts = [row["terminations"] for row in finished.metrics]
    assert counts == sorted(counts) and counts[-1] == finished.metrics[-1]["episodes"] > 5


def test_a_run_knows_the_network_that_it_was_trained_with(tmp_path):
    config = override(preset("CartPole-v1"), UNTAUGHT)

    def narrow(spec, key):
        shapes = spec.observation_shape, spec.num_actions, config.value.bins, config.reward.bins
        return make_network(NetworkConfig(width=8), *shapes, 1, key)

    run = muzen.train("CartPole-v1", config=config, network=narrow, out=tmp_path / "own")
    assert run.agent().act(np.zeros(4)) in (0, 1)
    with pytest.raises(RunDamagedError, match="pass the same network="):
        muzen.load(run.folder)
    assert muzen.evaluate(run.folder, episodes=1, network=narrow)["episodes"] == 1
    assert muzen.diagnose(run.folder, episodes=1, network=narrow).unroll is not None
    assert muzen.record(run.folder, max_steps=2, network=narrow).exists()


class Moody(gymnasium.Env):
    """Counts its steps; how many an episode has is nobody's seed's doing."""

    observation_space = gymnasium.spaces.Box(0, 100, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    length = 10

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.full(1, self.t, np.float32), 1.0, self.t == self.length, False, {}


@pytest.mark.parametrize(
    ("before", "now", "turns"),
    [(10, 5, 8), (10, 8, 8), (8, 10, 8), (10, 10, 8)],
    ids=["ended earlier", "ends at the last action", "had ended there", "as before"],
)
def test_an_environment_that_does_not_repeat_itself_leaves_no_episode_of_two_halves(
    tmp_path, monkeypatch, before, now, turns
):
    config = small("CartPole-v1", act__environments=2, act__random_steps=1000, env_steps=2000)
    config = override(config, {"env_id": "python:here:Moody"})
    folder = RunFolder.create(tmp_path / "run", config)
    monkeypatch.setattr(Moody, "length", before)
    first = Experiment(config, folder, lambda: make(Moody))
    for _ in range(turns):
        first.act()
    first.checkpoint()
    monkeypatch.setattr(Moody, "length", now)
    again = Experiment(config, folder, lambda: make(Moody))
    told = again.restore()
    assert len(told) == (0 if before == now else 2) and all("cut off there" in line for line in told)
    for _ in range(12):
        again.act()
    seen = again.replay.sample(1, 200, unroll_steps=3, n_step=1, discount=1.0)
    steps = np.diff(seen.observation[0, :, :, 0], axis=1)
    real = seen.observation_mask[0, :, 1:]
    assert real.sum() > 100 and (steps[real] == 1).all()
    first.close()
    again.close()
