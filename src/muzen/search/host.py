"""The same kernels from a plain Python loop around a jitted network, or around a model that lives on the host.

For devices and FFI versions without CPU custom calls, where states stay on the device and the tree in NumPy arrays;
and for a game's own rules, whose states are objects.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numba as nb
import numpy as np

from muzen.caches import compile_cached, source_version
from muzen.search import gumbel, loop, puct
from muzen.search.reuse import buffers_of
from muzen.search.tree import ACTION, LEAF, NODE, PARENT, Buffers, Inputs, Leaf, Tree
from muzen.types import HostModel, Prediction


def _functions(version: int) -> list[Any]:
    """The kernels, with `version` in their closure for the disk cache."""

    def start(buffers, bounds, scores, root):
        if version >= 0:
            loop.start(buffers, bounds, scores, root)

    def gumbel_restart(buffers, inputs, bounds, scores, root):
        if version >= 0:
            gumbel.gumbel_restart(buffers, inputs, bounds, scores, root)

    def puct_restart(buffers, inputs, bounds, scores, root):
        if version >= 0:
            puct.puct_restart(buffers, inputs, bounds, scores, root)

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

    return [start, gumbel_restart, puct_restart, gumbel_step, puct_step, gumbel_finish, puct_finish]


@functools.cache
def _kernels() -> dict[str, Any]:
    # Without Numba's reference counts, which cost more than the kernels: they allocate nothing.
    decorator = functools.partial(nb.njit, error_model="numpy", nogil=True, _nrt=False)  # pyright: ignore[reportCallIssue]
    return {f.__name__: compile_cached(decorator, f) for f in _functions(source_version("search"))}


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


def store(known: Any, room: int) -> Any:
    """[B, N, ...] states of the nodes known so far, with `room` for those of as many more."""

    def longer(x: Any) -> Any:
        return jnp.zeros((x.shape[0], x.shape[1] + room, *x.shape[2:]), x.dtype).at[:, : x.shape[1]].set(x)

    return jax.tree.map(longer, known)


def expand(recurrent: Any, states: Any, k: Any, pending: Any):
    """Fetch the parents' states, ask the network, store the new states as node k; to be jitted, `states` donated."""
    rows = jnp.arange(pending.shape[0])
    found = recurrent(jax.tree.map(lambda s: s[rows, pending[:, PARENT]], states), pending[:, ACTION])
    states = jax.tree.map(lambda s, new: jax.lax.dynamic_update_index_in_dim(s, new, k, 1), states, found.state)
    return states, found._replace(state=())


def store_on_host(known: Any, room: int) -> Any:
    """`store` in NumPy arrays, of objects too."""

    def longer(x: np.ndarray) -> np.ndarray:
        kept = np.empty((x.shape[0], x.shape[1] + room, *x.shape[2:]), x.dtype)
        kept[:, : x.shape[1]] = x
        return kept

    return jax.tree.map(longer, known)


def expand_on_host(
    model: HostModel, blank: Prediction, check: Any, first: int, states: Any, k: int, pending: np.ndarray
):
    """`expand` with a host model: it is asked for new nodes only, never again for a leaf that the walk came back to.

    Args:
      model: asked with the parents' states and the actions of the trees that have a new leaf.
      blank: a `Prediction` of all B trees, whose rows are replaced.
      check: (Prediction, M) -> None, raises where its shapes are wrong; called for the first answer of a search.
      first: the k of that answer.
    """
    new = np.flatnonzero(pending[:, LEAF] < 0)
    if not len(new):
        return states, blank
    at = pending[new, PARENT]
    found = model.expand(jax.tree.map(lambda s: s[new, at], states), pending[new, ACTION])
    if k == first:
        check(found, len(new))

    def put(kept: np.ndarray, answer: Any) -> None:
        kept[new, k] = answer

    jax.tree.map(put, states, found.state)
    return states, Prediction._make(
        None if field == "state" else _scattered(getattr(found, field), new, getattr(blank, field))
        for field in Prediction._fields
    )


def _scattered(answer: Any, rows: np.ndarray, blank: Any) -> np.ndarray:
    """[B, ...] with the answers [M, ...] in their rows; the other rows are never read."""
    answer = np.asarray(answer)
    if len(rows) == len(blank):
        return answer
    whole = np.zeros((len(blank), *answer.shape[1:]), answer.dtype)
    whole[rows] = answer
    return whole


def run(name: str, ask: Any, root: Prediction, states: Any, prepared: Any, simulations: int, tree: Tree | None = None):
    """All simulations of one search.

    Args:
      name: "gumbel" or "puct", whose kernels run.
      ask: (states, k, pending [B, 3]) -> states with those of node k, the model's answer: `expand`, jitted, or
        `expand_on_host`.
      root: the roots; their state is not read.
      states: what `ask` takes, the roots' states in it.
      prepared: `api.Prepared`.
      simulations: how many.
      tree: what `reuse` kept of an earlier search; `root` is then that tree's.

    Returns:
      (action, policy, value, visits, q), tree buffers (5), states.
    """
    kernels = _kernels()
    batch, actions = prepared.scores.shape
    players, first = root.value.shape[1], 1 if tree is None else tree.nodes.shape[1]
    nodes = simulations + first
    if tree is None:
        records = np.zeros((batch, nodes), NODE)
        values, rows = np.zeros((batch, nodes, players, 3), np.float32), np.zeros((batch, nodes, actions), np.float32)
        interval = np.zeros((batch, players, 2), np.float32)
    else:
        records, values, rows, interval = buffers_of(tree, simulations)
    buffers = Buffers(records, values, rows, interval, np.zeros((batch, 3), np.int32))
    inputs = Inputs(_array(prepared.settings), _array(prepared.table), _array(prepared.logits))
    bounds, scores = _array(prepared.bounds), _array(prepared.scores)
    if tree is None:
        kernels["start"](buffers, bounds, scores, _leaf(root))
    else:
        kernels[f"{name}_restart"](buffers, inputs, bounds, scores, _leaf(root))
    for k in range(first, nodes):
        states, found = ask(states, k, buffers.pending.copy())
        kernels[f"{name}_step"](buffers, inputs, np.int32(k), _leaf(found))
    action, visits = np.zeros(batch, np.int32), np.zeros((batch, actions), np.int32)
    policy, q = np.zeros((batch, actions), np.float32), np.zeros((batch, actions), np.float32)
    value = np.zeros((batch, players), np.float32)
    kernels[f"{name}_finish"](buffers, inputs, _array(prepared.noise), action, policy, value, visits, q)
    words = records.view(np.int32).reshape(batch, nodes, -1)
    return (action, policy, value, visits, q), (words, *buffers[1:]), states
