"""A game's own rules with a network's opinion of its positions: what AlphaZero searches with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from muzen.search import reuse
from muzen.search.tree import Tree, records
from muzen.static import Static, split
from muzen.types import Array, Model, Prediction, Simulator, Situation

# Networks see batches of these sizes only, so that few programs are compiled: the next power of two, at least this.
SMALLEST_BATCH = 8


class KnownRules:
    """A `HostModel`: a simulator says what is legal, who moves, what a move pays and where the game ends; a network
    gives policy and value, all the new leaves of many games in one call.

    States that are over are never shown to the network: their value is 0, for what they paid is a reward.

    Args:
      simulator: the game's rules.
      model: `initial(observation, to_play)` is all that is asked of it.
      gamma: γ of every move.
    """

    def __init__(self, simulator: Simulator, model: Model, gamma: Array | float = 1.0):
        self.simulator, self.gamma = simulator, np.float32(gamma)
        self._static, self._arrays = split(model)

    def initial(self, states: Sequence[Any] | np.ndarray) -> Prediction:
        """The roots of [B] states of the game."""
        return self._predict(self.simulator.look(states))

    def expand(self, state: np.ndarray, action: np.ndarray) -> Prediction:
        """The [M] states after [M] actions."""
        return self._predict(self.simulator.step(state, action))

    def judge(self, observation: np.ndarray, to_play: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The network's values [M, P] and policy logits [M, A] of M positions, in a batch of a fixed size."""
        size = len(observation)
        padded = np.resize(np.arange(size), 1 << (max(size, SMALLEST_BATCH) - 1).bit_length())
        value, logits = jax.device_get(_opinion(self._static, self._arrays, observation[padded], to_play[padded]))
        return value[:size], logits[:size]

    def _predict(self, now: Situation) -> Prediction:
        going_on = np.flatnonzero(~now.terminated)
        value, logits = np.zeros_like(now.reward), np.zeros(now.legal.shape, np.float32)
        if len(going_on):
            value[going_on], logits[going_on] = self.judge(now.observation[going_on], now.to_play[going_on])
        discount = np.where(now.terminated, np.float32(0), self.gamma)
        return Prediction(now.reward, discount, now.to_play, now.legal, value, logits, now.state)


def kept_tree(tree: Tree | None, states: Sequence[Any] | np.ndarray, simulator: Simulator) -> Tree | None:
    """What the last search of [B] games found below the moves made in them since, or None where there was none.

    Games are told by their moves: one that is not the last one's continuation begins afresh, as does one whose root in
    the tree has no state.
    """
    if tree is None or len(tree.states) != len(states):
        return None

    def made_since(root: Any, state: Any) -> list[int] | None:
        if root is None:
            return None
        before, now = simulator.history(root), simulator.history(state)
        return now[len(before) :] if now[: len(before)] == before else None

    return reuse(tree, [made_since(*pair) for pair in zip(tree.states[:, 0], states, strict=True)])


def packed(tree: Tree, simulator: Simulator) -> tuple[dict[str, np.ndarray], list[list[int]]]:
    """A search's tree as arrays, and the moves that led to each of its roots: what a checkpoint can hold."""
    arrays = {name: np.asarray(getattr(tree, name)) for name in Tree._fields if name != "states"}
    return arrays, [simulator.history(state) for state in tree.states[:, 0]]


def unpacked(arrays: dict[str, np.ndarray], lines: list[list[int]], simulator: Simulator) -> Tree:
    """The tree again, its states played out from the moves."""
    tree = Tree(**arrays, states=None)
    nodes = records(tree)
    states = np.empty(nodes.shape, object)
    states[:, 0] = simulator.replay(lines)
    for n in range(1, nodes.shape[1]):
        there = np.flatnonzero(nodes[:, n]["visits"])
        if len(there):
            above = states[there, nodes[there, n]["parent"]]
            states[there, n] = simulator.step(above, nodes[there, n]["action"]).state
    return tree._replace(states=states)


@partial(jax.jit, static_argnums=0)
def _opinion(static: Static, arrays: list[Any], observation: Array, to_play: Array) -> tuple[Array, Array]:
    prediction = static.join(arrays).initial(observation, to_play)
    return prediction.value, prediction.policy_logits
