"""Health checks speak when a figure stays bad, once; the unrolled model is measured against the real environment."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from muzen.agent import Agent
from muzen.config import Config
from muzen.diagnose import PATIENCE, Health, _return_that_followed, findings, play_for_diagnosis, unroll_against
from muzen.types import EnvSpec, Prediction, TimeStep

CONFIG = Config("CartPole-v1", env_steps=10_000)
HEALTHY = {
    "env_steps": 5_000.0,
    "value_saturation": 0.0,
    "policy_entropy": 0.4,
    "target_entropy": 0.3,
    "value_explained": 0.9,
    "reward_spread": 1.0,
    "reward_mean": 0.3,
    "terminations": 0.1,
    "target_age": 300.0,
    "clipped": 0.1,
    "gradient_norm": 2.0,
}
SICK = {
    "value_saturates": ({"value_saturation": 0.2}, "20% of the value targets", "value.limit"),
    "rewards_cut": (
        {"reward_size": 10.0, "reward_cut": 1.5, "reward_largest": 84.0},
        "15% of the reward lies beyond",
        "reward.limit (now automatic) to more than 84",
    ),
    "policy_collapsed": ({"policy_entropy": 0.01, "target_entropy": 0.01}, "1.0% of uniform", "search.c_scale"),
    "policy_uniform": ({"policy_entropy": 0.999}, "99.9% of uniform", "search.simulations"),
    "value_explains_nothing": ({"value_explained": 0.02}, "2% of the variance", "learn.learning_rate"),
    "rewards_never_seen": (
        {"reward_spread": 0.0, "terminations": 0.0, "reward_mean": -1.0},
        "every one of 5000 rewards was -1",
        "act.random_steps",
    ),
    "replay_stale": ({"target_age": 4_000.0}, "4000 environment steps ago", "reanalyse.positions_per_step"),
    "always_clipped": ({"clipped": 1.0}, "100% of the gradients", "learn.clip_norm"),
}


def test_rules_say_what_they_pay_whatever_the_support():
    rules = dataclasses.replace(CONFIG, search=dataclasses.replace(CONFIG.search, model="rules"))
    assert findings([HEALTHY | SICK["rewards_cut"][0]] * 10, rules) == []


def test_what_to_change_is_a_setting_of_the_rule_that_searches():
    puct = dataclasses.replace(CONFIG, search=dataclasses.replace(CONFIG.search, rule="puct"))
    told = findings([HEALTHY | SICK["policy_collapsed"][0]] * 10, puct)
    assert "raise search.c1 (now 1.25)" in told[0][1].line() and "c_scale" not in told[0][1].line()


def test_a_healthy_run_is_told_nothing():
    assert findings([HEALTHY] * 10, CONFIG) == []


@pytest.mark.parametrize("name", SICK)
def test_a_figure_that_stays_bad_is_told_once_with_the_setting_to_change(name):
    change, figure, setting = SICK[name]
    told = findings([HEALTHY | change] * 10, CONFIG)
    assert [finding.name for _, finding in told] == [name]
    assert figure in told[0][1].line() and setting in told[0][1].line()


@pytest.mark.parametrize("name", SICK)
def test_a_figure_that_is_bad_now_and_then_is_not_told(name):
    sick = HEALTHY | SICK[name][0]
    assert findings([sick] * (PATIENCE - 1) + [HEALTHY] + [sick] * (PATIENCE - 1), CONFIG) == []


@pytest.mark.parametrize("name", ["policy_collapsed", "policy_uniform", "value_explains_nothing", "always_clipped"])
def test_what_settles_with_time_is_not_told_at_the_start(name):
    assert findings([HEALTHY | SICK[name][0] | {"env_steps": 1_500.0}] * 10, CONFIG) == []


def test_a_resumed_run_goes_on_counting():
    sick = HEALTHY | SICK["always_clipped"][0]
    before = Health(CONFIG)
    assert [before.look(sick) for _ in range(PATIENCE - 1)] == [[]] * (PATIENCE - 1)
    after = Health(CONFIG)
    after.restore(before.state())
    assert [finding.name for finding in after.look(sick)] == ["always_clipped"]


LENGTH, GAMMA = 6, 0.9


class Walk:
    """Places 0 to 6; either action walks on and pays the place's own number; the walk ends at 6."""

    spec = EnvSpec("walk", (1,), "float32", 2)

    def _now(self, reward: float) -> TimeStep:
        observation, reward_ = np.array([self.place], np.float32), np.array([reward], np.float32)
        return TimeStep(observation, reward_, self.place == LENGTH, False, 0, np.ones(2, bool))

    def reset(self, seed: int) -> TimeStep:
        self.place = 0
        return self._now(0.0)

    def step(self, action: int) -> TimeStep:
        self.place += 1
        return self._now(self.place - 1.0)

    def close(self) -> None:
        pass


class Model:
    """The walk itself; a state is a place. Rewards may be wrong by `reward_error`, values by `drift` a step."""

    def __init__(self, reward_error: float = 0.0, drift: float = 0.0, sees_end: bool = True):
        self.reward_error, self.drift, self.sees_end = reward_error, drift, sees_end
        place = np.arange(LENGTH + 1)
        self.value = np.array([sum(GAMMA**i * (p + i) for i in range(LENGTH - p)) for p in place], np.float32)

    def initial(self, observation, to_play=None):
        place = jnp.asarray(observation)[:, 0].astype(jnp.int32)
        return self._predict(place, jnp.zeros(len(place)), jnp.zeros(place.shape), 1.0)

    def recurrent(self, state, action):
        place, walked = state[0], state[1] + 1
        following = jnp.minimum(place + 1, LENGTH)
        going_on = jnp.where((following == LENGTH) & self.sees_end, 0.0, 1.0)
        return self._predict(following, place + self.reward_error, walked, going_on)

    def _predict(self, place, reward, walked, going_on):
        (batch,) = place.shape
        return Prediction(
            reward[:, None],
            GAMMA * going_on * jnp.ones(batch),
            jnp.zeros(batch, jnp.int32),
            jnp.ones((batch, 2), bool),
            (jnp.asarray(self.value)[place] + self.drift * walked)[:, None],
            jnp.stack([jnp.zeros(batch), jnp.where((walked > 1) & (self.drift > 0), -1.0, 1.0)], axis=1),
            (place, walked),
        )


class Still:
    """A planner that always takes action 0."""

    def search(self, model, observation, legal, to_play, key, *, states, previous=None):
        class Found:
            action = np.zeros(len(observation), np.int32)

        return Found


def report(model: Model):
    agent = Agent(model, Still(), Walk.spec)  # type: ignore[arg-type]
    return unroll_against(agent, play_for_diagnosis(agent, Walk, episodes=3), gamma=GAMMA, steps=4)


def test_a_perfect_model_strays_nowhere():
    told = report(Model())
    np.testing.assert_allclose(told.reward_error, 0, atol=1e-6)
    np.testing.assert_allclose(told.value_drift, 0, atol=1e-5)
    np.testing.assert_allclose(told.policy_agreement, 1)
    np.testing.assert_allclose(told.continue_at_end, 0, atol=1e-6)
    np.testing.assert_allclose(told.continue_elsewhere, 1, atol=1e-6)
    assert told.value_correlation == pytest.approx(1.0)
    assert told.value_bias == pytest.approx(0.0, abs=1e-5) and told.followed_spread > 1


def test_what_the_model_gets_wrong_is_measured_where_it_goes_wrong():
    told = report(Model(reward_error=0.25, drift=2.0, sees_end=False))
    np.testing.assert_allclose(told.reward_error, 0.25, atol=1e-6)
    np.testing.assert_allclose(told.value_drift, [2, 4, 6, 8], atol=1e-5)
    np.testing.assert_allclose(told.policy_agreement, [1, 0, 0, 0])
    np.testing.assert_allclose(told.continue_at_end, 1, atol=1e-6)


def test_a_value_that_says_too_much_everywhere_is_told_though_it_correlates():
    model = Model()
    model.value += 3.0
    told = report(model)
    assert told.value_correlation == pytest.approx(1.0) and told.value_bias == pytest.approx(3.0, abs=1e-5)
    assert "on average: +3, where returns spread by" in told.lines()[-1]


def test_of_ends_that_are_not_learned_nothing_is_said():
    model = Model()
    model.learns_discount = False  # type: ignore[attr-defined]
    told = report(model)
    assert np.isnan(told.continue_at_end).all() and np.isnan(told.continue_elsewhere).all()
    assert all(line.split()[-2:] == ["-", "-"] for line in told.lines()[1:5])


def test_the_report_reads_as_a_table():
    lines = report(Model()).lines()
    assert lines[0].split()[0] == "k" and len(lines) == 1 + 4 + 2
    assert lines[-2].endswith("1.00")


def test_what_a_time_limit_cut_off_is_worth_what_the_value_says():
    reward = np.array([1.0, 1.0])
    np.testing.assert_allclose(_return_that_followed(reward, 0.5, 0.0), [1.5, 1.0])
    np.testing.assert_allclose(_return_that_followed(reward, 0.5, 4.0), [2.5, 3.0])
