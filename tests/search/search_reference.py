"""Models whose every answer stands in a table: no rounding that depends on the batch."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzen.search import Gumbel, Puct, search
from muzen.types import Prediction

KEY = jax.random.key(0)
RULES = [Gumbel(), Gumbel(normalise="node"), Gumbel(normalise="none", c_scale=1.0), Puct(), Puct(normalise="node")]


def defaults_first(rules):
    """Rules for `parametrize`; all but the default ones in the slow tests, for each is another program to compile."""
    return [rule if rule in (Gumbel(), Puct()) else pytest.param(rule, marks=pytest.mark.slow) for rule in rules]


def label(rule):
    return f"{type(rule).__name__}-{rule.normalise}" + ("" if rule.bounds is None else "-bounded")


class Table(NamedTuple):
    """M states: `following` [M, A], `reward` [M, A, P], `discount` [M, A], and the rest by state."""

    following: np.ndarray
    reward: np.ndarray
    discount: np.ndarray
    to_play: np.ndarray
    legal: np.ndarray
    value: np.ndarray
    logits: np.ndarray

    def recurrent(self, state, action):
        following = jnp.asarray(self.following)[state, action]
        return self._at(following, jnp.asarray(self.reward)[state, action], jnp.asarray(self.discount)[state, action])

    @jax.jit
    def roots(self, state):
        players = self.value.shape[1]
        return self._at(state, jnp.zeros((len(state), players)), jnp.ones(len(state)))

    def _at(self, state, reward, discount):
        to_play, legal, value, logits = (
            jnp.asarray(x)[state] for x in (self.to_play, self.legal, self.value, self.logits)
        )
        return Prediction(reward, discount, to_play, legal, value, logits, state)


def random_table(seed, states, actions, players=1, *, illegal=0.0, ends=0.0, spread=1.0):
    """A random table; every state keeps at least one legal action."""
    rng = np.random.default_rng(seed)
    legal = rng.random((states, actions)) >= illegal
    legal[np.arange(states), rng.integers(0, actions, states)] = True
    discount = rng.uniform(0.5, 1.0, (states, actions)) * (rng.random((states, actions)) >= ends)
    f32 = np.float32
    return Table(
        rng.integers(0, states, (states, actions)).astype(np.int32),
        rng.normal(size=(states, actions, players)).astype(f32) * f32(spread),
        discount.astype(f32),
        rng.integers(0, players, states).astype(np.int32),
        legal,
        rng.normal(size=(states, players)).astype(f32) * f32(spread),
        (2 * rng.normal(size=(states, actions))).astype(f32),
    )


def plan(table, state, rule, simulations=30, path="auto", **options):
    state = np.atleast_1d(np.asarray(state, np.int32))
    found = search(
        table,
        table.roots(state),
        options.pop("key", KEY),
        simulations=simulations,
        rule=rule,
        path=path,
        **options,
    )
    return jax.tree.map(np.asarray, found)
