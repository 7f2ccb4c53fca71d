"""The same kernels from a plain Python loop around a jitted network.

For devices and FFI versions without CPU custom calls: states stay on the device, the tree stays in NumPy arrays.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numba as nb
import numpy as np

from muzen.search import gumbel, loop, puct
from muzen.search.cache import compile_cached, source_version
from muzen.search.tree import ACTION, NODE, PARENT, Buffers, Inputs, Leaf
from muzen.types import Prediction


def _functions(version: int) -> list[Any]:
    """The kernels, with `version` in their closure for the disk cache."""

    def start(buffers, bounds, scores, root):
        if version >= 0:
            loop.start(buffers, bounds, scores, root)

    def gumbel_step(buffers, inputs, k, leaf):
        if version >= 0:
            gumbel.gumbel_step(buffers, inputs, k, leaf)

    def puct_step(buffers, inputs, k, leaf):
        if version >= 0:
            puct.puct_step(buffers, inputs, k, leaf)

    def gumbel_finish(buffers, inputs, noise, action, policy, value, visits, q):
        if version >= 0:
            gumbel.gumbel_finish(buffers, inputs, noise, action, policy, value, visits, q)

    def puct_finish(buffers, inputs, noise, action, policy, value, visits, q):
        if version >= 0:
            puct.puct_finish(buffers, inputs, noise, action, policy, value, visits, q)

    return [start, gumbel_step, puct_step, gumbel_finish, puct_finish]


@functools.cache
def _kernels() -> dict[str, Any]:
    # Without Numba's reference counts, which cost more than the kernels: they allocate nothing.
    decorator = functools.partial(nb.njit, error_model="numpy", nogil=True, _nrt=False)  # pyright: ignore[reportCallIssue]
    return {f.__name__: compile_cached(decorator, f) for f in _functions(source_version())}


def _array(x: Any, dtype: Any = np.float32) -> np.ndarray:
    return np.array(x, dtype, order="C")


def _leaf(prediction: Prediction) -> Leaf:
    found = jax.device_get(prediction._replace(state=()))
    return Leaf(
        _array(found.reward),
        _array(found.discount),
        _array(found.to_play, np.int32),
        _array(found.legal, np.uint8),
        _array(found.value),
        _array(found.policy_logits),
    )


def expand(recurrent: Any, states: Any, k: Any, parent: Any, action: Any):
    """Fetch the parents' states, ask the network, store the new states as node k; to be jitted, `states` donated."""
    rows = jnp.arange(action.shape[0])
    found = recurrent(jax.tree.map(lambda s: s[rows, parent], states), action)
    states = jax.tree.map(lambda s, new: jax.lax.dynamic_update_index_in_dim(s, new, k, 1), states, found.state)
    return states, found._replace(state=())


def run(name: str, ask: Any, root: Prediction, prepared: Any, simulations: int):
    """All simulations of one search; arguments and results as `xla.run`, but `ask` is `expand`, jitted.

    Returns:
      (action, policy, value, visits, q), tree buffers (5), states.
    """
    kernels = _kernels()
    batch, actions = prepared.scores.shape
    players, nodes = root.value.shape[1], simulations + 1
    records = np.zeros((batch, nodes), NODE)
    buffers = Buffers(
        records,
        np.zeros((batch, nodes, players, 3), np.float32),
        np.zeros((batch, nodes, actions), np.float32),
        np.zeros((batch, players, 2), np.float32),
        np.zeros((batch, 3), np.int32),
    )
    inputs = Inputs(_array(prepared.settings), _array(prepared.table), _array(prepared.logits))
    states = jax.tree.map(lambda x: jnp.zeros((batch, nodes, *x.shape[1:]), x.dtype).at[:, 0].set(x), root.state)
    kernels["start"](buffers, _array(prepared.bounds), _array(prepared.scores), _leaf(root))
    for k in range(1, nodes):
        states, found = ask(states, np.int32(k), buffers.pending[:, PARENT].copy(), buffers.pending[:, ACTION].copy())
        kernels[f"{name}_step"](buffers, inputs, np.int32(k), _leaf(found))
    action, visits = np.zeros(batch, np.int32), np.zeros((batch, actions), np.int32)
    policy, q = np.zeros((batch, actions), np.float32), np.zeros((batch, actions), np.float32)
    value = np.zeros((batch, players), np.float32)
    kernels[f"{name}_finish"](buffers, inputs, _array(prepared.noise), action, policy, value, visits, q)
    words = records.view(np.int32).reshape(batch, nodes, -1)
    return (action, policy, value, visits, q), (words, *buffers[1:]), states
