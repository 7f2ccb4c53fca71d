"""Games of two: search sits in the seat of whoever moves, and its values come back in every player's view."""

from __future__ import annotations

import contextlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzen.agent import Agent, Planner
from muzen.config import Config, NetworkConfig
from muzen.errors import ConfigError
from muzen.experiment.parts import make_model
from muzen.maths.supports import CategoricalEncoding
from muzen.networks import NetworkModel, make_network
from muzen.presets import preset
from muzen.search import Gumbel, Puct
from muzen.types import EnvSpec

OBSERVATION = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
LEGAL = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 1, 0]], bool)
SEATS = np.array([0, 1, 1, 0, 1])
ENCODING = CategoricalEncoding(limit=5.0, bins=11)


def random_model(players: int) -> NetworkModel:
    network = make_network(NetworkConfig(width=8), (4,), 3, 11, 11, players, jax.random.key(0))
    random = np.random.default_rng(1)
    network = jax.tree.map(
        lambda x: x + random.normal(size=x.shape).astype(np.float32) if eqx.is_inexact_array(x) else x, network
    )
    return NetworkModel(network, ENCODING, ENCODING, gamma=0.9, num_actions=3, players=players)


def searched(planner: Planner, model: NetworkModel, to_play: np.ndarray):
    found = planner.search(model, OBSERVATION, LEGAL, to_play, jax.random.key(0))
    return jax.tree.map(np.asarray, found._replace(tree=None))


@pytest.mark.parametrize("rule", [Gumbel(), Puct()], ids=["gumbel", "puct"])
def test_changing_seats_swaps_the_values_and_nothing_else(rule):
    planner, model = Planner(rule, simulations=12), random_model(2)
    here, there = searched(planner, model, SEATS), searched(planner, model, 1 - SEATS)
    assert np.abs(here.value).min() > 1e-3
    np.testing.assert_array_equal(there.value, here.value[:, ::-1])
    for name in ("action", "policy", "visits", "q"):
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name), err_msg=name)


def test_a_network_that_says_not_who_moves_is_refused_where_players_dont_take_turns():
    made = make_network(NetworkConfig(width=8), (4,), 3, 11, 11, 3, jax.random.key(0))
    for turns in (True, False):
        spec = EnvSpec("game", (4,), "float32", 3, players=3, alternating=turns)
        with contextlib.nullcontext() if turns else pytest.raises(ConfigError, match=r"network: says not .*to_play"):
            make_model(Config("game"), spec, made, ENCODING, ENCODING)


def test_the_outcome_is_the_target_of_a_game_of_ones_own_whose_length_nobody_says():
    spec = EnvSpec("python:my:game", (4,), "float32", 3, players=2)
    assert preset(spec.id, spec).learn.n_step > 100


class Wins(eqx.Module):
    """Every action wins 1 for whoever takes it, and ends the game."""

    weight: jax.Array

    def representation(self, observation):
        return observation

    def dynamics(self, state, action):
        return state

    def policy(self, state):
        return jnp.zeros((len(state), 3)) * self.weight

    def value(self, state):
        return jnp.log(ENCODING.encode(jnp.zeros(len(state))) + 1e-20)

    def reward(self, state):
        return jnp.log(ENCODING.encode(jnp.ones(len(state))) + 1e-20)

    def continues(self, state):
        return jnp.full(len(state), -100.0)


@pytest.mark.parametrize("player", [0, 1])
def test_a_win_is_the_movers_and_the_others_loss(player):
    model = NetworkModel(Wins(jnp.ones(())), ENCODING, ENCODING, gamma=1.0, num_actions=3, players=2)
    agent = Agent(model, Planner(Gumbel(), simulations=9), EnvSpec("game", (4,), "float32", 3, players=2))
    found = agent.search(OBSERVATION[0], to_play=player)
    np.testing.assert_allclose(found.q, 1.0, atol=1e-3)
    np.testing.assert_allclose(found.value[0, player], 0.9, atol=1e-3)  # 9 wins, and the network's own 0
    np.testing.assert_allclose(found.value[0, 1 - player], -0.9, atol=1e-3)


@pytest.mark.parametrize("players", [1, 2, 3])
def test_a_planned_value_is_the_policys_mean_of_q_for_the_mover_and_its_negative_for_the_other(players):
    model, seats = random_model(players), SEATS % players
    found = searched(Planner(Gumbel(), simulations=12), model, seats)
    planner = Planner(Gumbel(), 12, "policy")
    plan = planner.plan(model, OBSERVATION, LEGAL, seats, jax.random.key(0))
    expected = found.value.copy()  # three players: q is the mover's only, so the visit mean stays
    for b, player in enumerate(seats):
        own = sum(found.policy[b, a] * found.q[b, a] for a in range(3))
        if players == 1:
            expected[b] = own
        elif players == 2:
            expected[b, player], expected[b, 1 - player] = own, -own
    np.testing.assert_allclose(plan.value, expected, rtol=1e-5)
    np.testing.assert_array_equal(plan.policy, found.policy)
