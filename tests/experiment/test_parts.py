"""What a network counts values and rewards in."""

import math

import pytest

from muzen.config import Config, override
from muzen.experiment.parts import Units
from muzen.replay import Statistics
from muzen.types import EnvSpec

SPEC = EnvSpec("task", (4,), "float32", 2)


def units(
    *,
    rms_reward,
    lasting_reward,
    max_abs_reward,
    returns=(math.inf, -math.inf),
    gamma=0.9,
    spec=SPEC,
    ends=1,
    reward_limit=0.0,
):
    config = override(Config("task"), {"learn.discount": gamma, "reward.limit": reward_limit})
    return Units.of(config, spec, rms_reward, lasting_reward, Statistics(0, max_abs_reward, *returns), ends)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_values_reach_what_the_largest_lasting_reward_can_add_up_to_in_any_currency(scale):
    found = units(rms_reward=0.01 * scale, lasting_reward=scale, max_abs_reward=scale)
    assert found.scale == pytest.approx(0.01 * scale)
    assert found.value_limit * found.scale == pytest.approx(10 * scale)


def test_a_reward_that_ends_its_episode_is_had_once():
    found = units(rms_reward=10.0, lasting_reward=1.0, max_abs_reward=100.0)
    assert found.value_limit * found.scale == pytest.approx(300.0)
    assert found.reward_limit * found.scale == pytest.approx(100.0)


def test_values_reach_the_returns_seen():
    assert units(rms_reward=1.0, lasting_reward=1.0, max_abs_reward=1.0, returns=(-500.0, -80.0)).value_limit == 500.0


def test_where_every_reward_is_alike_values_reach_exactly_the_endless_sum():
    assert units(rms_reward=1.0, lasting_reward=1.0, max_abs_reward=1.0).value_limit == pytest.approx(10.0)


def test_where_nothing_was_paid_the_unit_is_1():
    found = units(rms_reward=0.0, lasting_reward=0.0, max_abs_reward=0.0)
    assert (found.scale, found.reward_limit) == (1.0, 2.0)


def test_before_any_end_was_seen_one_may_pay_a_hundred_times_a_typical_reward():
    found = units(rms_reward=0.5, lasting_reward=1.0, max_abs_reward=1.0, ends=0)
    assert (found.reward_limit, found.value_limit) == (100.0, 300.0)
    assert units(rms_reward=0.5, lasting_reward=80.0, max_abs_reward=80.0, ends=0).reward_limit == 160.0


def test_who_says_how_large_rewards_get_knows_what_an_end_pays():
    found = units(rms_reward=0.5, lasting_reward=0.5, max_abs_reward=0.5, ends=0, reward_limit=5.0)
    assert (found.reward_limit, found.value_limit) == (5.0, pytest.approx(10.0))


def test_the_unit_of_a_game_is_its_largest_return():
    game = EnvSpec("game", (4,), "float32", 2, players=2, largest_return=13.0)
    found = units(rms_reward=1.0, lasting_reward=5.0, max_abs_reward=5.0, gamma=1.0, spec=game)
    assert (found.scale, found.value_limit, found.reward_limit) == (13.0, 1.1, 1.1)
