"""Tree reuse: a finished tree below the moves that were made, as the beginning of the next search."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numba as nb
import numpy as np

from muzen.caches import compile_cached, source_version
from muzen.errors import SearchError
from muzen.search.tree import NODE, RAW, REWARD, Tree, records
from muzen.types import Prediction

# A record that nothing was written to, as `tree.clear_node` leaves it.
_BLANK = np.zeros((), NODE)
for _name, _value in (("best", -1), ("best_score", -np.inf), ("top", -np.inf), ("rest", -1), ("scale", -1)):
    _BLANK[_name] = _value
AFRESH = -1  # length of the moves of a root that keeps nothing


def reuse(tree: Tree, moves: Sequence[Any] | np.ndarray) -> Tree:
    """What a finished search found below the moves made since, for `search(..., tree=)`.

    Visits, values, rewards, priors and states below a new root are those of the old tree; the interval of r + γV
    stays the old tree's. It is right wherever the model of the next search is that of the last one: with a game's own
    rules always, with a learned model as long as its weights and the real moves are those that it foresaw.

    Args:
      tree: `SearchResult.tree`, or what `reuse` made of one.
      moves: [B] actions, or for each root the sequence of actions that were made since, in order; None where it has
        nothing to do with the last search. An empty sequence goes on at the same root, whose logits keep what noise the
        last search mixed into them.

    Returns:
      The tree below, with N as large as its largest root needs. A root whose moves were never visited, or whose
      game is over there, has no visits: a search begins it afresh.

    Raises:
      SearchError: not one entry for each root, or an action is out of range.
    """
    nodes = records(tree)
    (batch, size), actions = nodes.shape, tree.rows.shape[2]
    path, length = _paths(moves, batch, actions)
    source = np.full((batch, size), -1, np.int32)
    kept = _kernels()["find"](nodes, path, length, source, np.empty(size, np.int32))
    source = np.ascontiguousarray(source[:, : max(1, kept)])
    rows, at = np.arange(batch)[:, None], np.maximum(source, 0)
    new = np.ascontiguousarray(nodes[rows, at])
    empty = source < 0
    new[empty] = _BLANK
    _kernels()["relink"](new, source, np.empty(size, np.int32))
    values = np.where(empty[..., None, None], np.float32(0), np.asarray(tree.values)[rows, at])
    scores = np.where(empty[..., None], np.float32(-np.inf), np.asarray(tree.rows)[rows, at])

    def taken(states: Any) -> Any:
        if not isinstance(states, np.ndarray):
            return jnp.asarray(states)[rows, at]
        below = states[rows, at]
        if below.dtype == object:
            below[empty] = None  # or an evicted state would live on
        return below

    words = new.view(np.int32).reshape(batch, source.shape[1], -1)
    return Tree(words, values, scores, np.array(tree.interval), jax.tree.map(taken, tree.states))


def joined(roots: Sequence[tuple[Tree, int] | None]) -> Tree | None:
    """One tree of roots that were searched at different times, for `reuse`.

    Args:
      roots: [B] of which tree which root; None for one without a tree, which a search begins afresh.

    Returns:
      The tree, N that of the largest one, states None where a root has none; None if no root has a tree. All trees
      are of one game, their states numpy arrays of objects, as a host model's are.
    """
    known = [root for root in roots if root is not None]
    if not known:
        return None
    tallest = max((tree for tree, _ in known), key=lambda tree: np.shape(tree.nodes)[1])
    fill = Tree(np.frombuffer(_BLANK.tobytes(), np.int32), np.float32(0), np.float32(-np.inf), np.float32(0), None)

    def of_all(name: str) -> np.ndarray:
        like = np.asarray(getattr(tallest, name))
        out = np.empty((len(roots), *like.shape[1:]), like.dtype)
        out[:] = getattr(fill, name)
        for b, root in enumerate(roots):
            if root is not None:
                row = np.asarray(getattr(root[0], name))[root[1]]
                out[b, : len(row)] = row
        return out

    return Tree(*map(of_all, Tree._fields))


def _paths(moves: Any, batch: int, actions: int) -> tuple[np.ndarray, np.ndarray]:
    """[B, L] actions and [B] how many of them count, `AFRESH` for none and no tree."""
    if len(moves) != batch:
        raise SearchError(f"moves: {len(moves)} for {batch} roots; give one action, or one sequence, for each")
    lines = [None if line is None else np.atleast_1d(np.asarray(line, np.int32)) for line in moves]
    longest = max((len(line) for line in lines if line is not None), default=0)
    path, length = np.zeros((batch, longest), np.int32), np.full(batch, AFRESH, np.int32)
    for b, line in enumerate(lines):
        if line is None:
            continue
        if len(line) and not 0 <= line.min() <= line.max() < actions:
            raise SearchError(f"moves: {line.tolist()} of root {b} is outside 0..{actions - 1}")
        path[b, : len(line)], length[b] = line, len(line)
    return path, length


def _functions(version: int) -> list[Any]:
    """The kernels, with `version` in their closure for the disk cache."""

    def find(nodes, path, length, source, place):
        """Fill source [B, N] with the old node of each new one, -1 behind the last; returns the most of any root.

        A child is always younger than its parent, so that nodes in their old order meet their parents first.
        """
        most = 0
        for b in range(nodes.shape[0]):
            if version < 0 or length[b] < 0 or nodes[b, 0].visits == 0:
                continue
            root = 0
            for i in range(length[b]):
                c = nodes[b, root].first
                while c != 0 and nodes[b, c].action != path[b, i]:
                    c = nodes[b, c].sibling
                root = c
                if c == 0:
                    break
            if root == 0 and length[b] > 0:
                continue
            top = nodes[b, root]
            if top.discount == 0 or (top.best < 0 and top.children == 0):
                continue
            place[:] = -1
            place[root] = 0
            source[b, 0] = root
            count = 1
            for n in range(root + 1, nodes.shape[1]):
                if nodes[b, n].visits > 0 and place[nodes[b, n].parent] >= 0:
                    place[n] = count
                    source[b, count] = n
                    count += 1
            most = max(most, count)
        return most

    def relink(nodes, source, place):
        """Make the copied nodes [B, N'] a tree of their own: links renumbered, what a rule had cached forgotten."""
        for b in range(nodes.shape[0]):
            for n in range(nodes.shape[1]):
                if version >= 0 and source[b, n] >= 0:
                    place[source[b, n]] = n
            for n in range(nodes.shape[1]):
                node = nodes[b, n]
                if source[b, n] < 0:
                    continue
                node.first = place[node.first] if node.first != 0 else 0
                node.sibling = place[node.sibling] if node.sibling != 0 and n != 0 else 0
                node.parent = place[node.parent] if n != 0 else 0
                node.action = node.action if n != 0 else 0
                node.rest = -1.0
                node.scale = -1.0

    return [find, relink]


@functools.cache
def _kernels() -> dict[str, Any]:
    decorator = functools.partial(nb.njit, error_model="numpy", nogil=True)
    return {f.__name__: compile_cached(decorator, f) for f in _functions(source_version("search"))}


def check_tree(tree: Any, root: Prediction) -> None:
    """Raise `SearchError` unless a reused tree fits the roots of a search."""
    if not isinstance(tree, Tree):
        raise SearchError(f"tree: {type(tree).__name__} is no tree; give reuse(result.tree, action)")
    nodes, actions, players = np.shape(tree.nodes), np.shape(tree.rows)[2], np.shape(tree.values)[2]
    wanted = np.shape(root.policy_logits)[0], np.shape(root.policy_logits)[1], np.shape(root.value)[1]
    if (nodes[0], actions, players) != wanted:
        raise SearchError(
            f"tree: of {nodes[0]} roots, {actions} actions and {players} players, but root has {wanted[0]}, "
            f"{wanted[1]} and {wanted[2]}; give reuse(result.tree, action) of a search of the same batch"
        )


def grafted(root: Prediction, tree: Tree) -> Prediction:
    """`root` [B] with what the tree's own roots were told by the model when they were expanded, where it has any."""
    nodes, values = records(tree), np.asarray(tree.values)
    kept = nodes[:, 0]["visits"] > 0
    logits = np.array(tree.rows)[:, 0]
    for b in np.flatnonzero(kept):
        c = nodes[b, 0]["first"]
        while c:
            logits[b, nodes[b, c]["action"]] = nodes[b, c]["score"]
            c = nodes[b, c]["sibling"]

    def chosen(new: Any, old: Any) -> np.ndarray:
        out = np.array(new)
        out[kept] = np.asarray(old)[kept]
        return out

    return Prediction(
        chosen(root.reward, values[:, 0, :, REWARD]),
        chosen(root.discount, nodes[:, 0]["discount"]),
        chosen(root.to_play, nodes[:, 0]["to_play"]),
        chosen(root.legal, logits > -np.inf),
        chosen(root.value, values[:, 0, :, RAW]),
        chosen(root.policy_logits, logits),
        jax.tree.map(lambda new, old: _states(new, old, kept), root.state, tree.states),
    )


def _states(new: Any, old: Any, kept: np.ndarray) -> Any:
    if not isinstance(old, np.ndarray):
        return jnp.where(kept.reshape(-1, *[1] * (np.ndim(new) - 1)), old[:, 0], new)
    out = np.array(new)
    out[kept] = old[kept, 0]
    return out


def buffers_of(tree: Tree, room: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Records, values, rows and interval of a reused tree as fresh arrays with `room` more nodes."""
    nodes = records(tree)
    batch, size = nodes.shape
    players, actions = tree.values.shape[2], tree.rows.shape[2]
    new = np.zeros((batch, size + room), NODE)
    new[:, :size] = nodes
    values = np.zeros((batch, size + room, players, 3), np.float32)
    values[:, :size] = tree.values
    rows = np.full((batch, size + room, actions), -np.inf, np.float32)
    rows[:, :size] = tree.rows
    return new, values, rows, np.array(tree.interval, np.float32)
