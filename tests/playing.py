"""An agent that needs no training, and sessions with it, for the tests of playing."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np

from muzen.agent import Agent, Planner
from muzen.envs import spec_of
from muzen.play import GameSession
from muzen.search import Gumbel
from muzen.types import Prediction

SIMULATIONS = 12


class Habit:
    """A model of any game, wrong but deterministic: what it thinks depends on the actions that led somewhere."""

    def __init__(self, players: int, actions: int):
        self.players, self.actions = players, actions

    def initial(self, observation, to_play=None):
        place = jnp.asarray(observation, jnp.float32).reshape(len(observation), -1)
        weights = jnp.sin(jnp.arange(place.shape[1], dtype=jnp.float32))
        return self._predict(jnp.tanh(place @ weights), jnp.asarray(to_play, jnp.int32))

    def recurrent(self, state, action):
        place, mover = state
        return self._predict(jnp.tanh(0.7 * place + jnp.sin(action + 1.0)), (mover + 1) % self.players)

    def _predict(self, place, mover):
        batch = place.shape[0]
        others = -place[:, None] / max(1, self.players - 1) * jnp.ones((batch, self.players))
        value = jnp.where(jnp.arange(self.players) == mover[:, None], place[:, None], others) * 0.5
        return Prediction(
            reward=jnp.zeros((batch, self.players)),
            discount=jnp.ones(batch),
            to_play=mover,
            legal=jnp.ones((batch, self.actions), bool),
            value=value,
            policy_logits=jnp.sin(place[:, None] * 3 + jnp.arange(self.actions)),
            state=(place, mover),
        )


@functools.cache
def agent(game: str) -> Agent:
    """One for each game, so that its search is compiled once."""
    spec = spec_of(game)
    return Agent(Habit(spec.players, spec.num_actions), Planner(Gumbel(), SIMULATIONS), spec, env_steps=1234)


def session(game: str = "openspiel:tic_tac_toe", **options) -> GameSession:
    """A game that repeats: its chance has a seed."""
    return GameSession(agent(game), **{"seed": 7, **options})


def turn(game: GameSession, choose=min) -> None:
    """The person's move, chosen among the legal actions, and all replies."""
    if game.persons_turn:
        game.play(choose(game.legal_moves()))
    while game.seat is not None and game.agents_turn:
        game.reply()


def is_sum_of(parts, whole, tolerance=1e-5) -> bool:
    """Whether numbers add up."""
    return bool(np.isclose(sum(parts), whole, atol=tolerance))
