"""The search tree: its buffers, how they are laid out, and what a reader can ask of one.

A tree is node-centred: everything an edge carries (visits, r + γV, logit, reward, discount) stands in the
record of the node below it, one cache line of 64 bytes, and the children of a node are a linked list. What is
dense over actions is one row of logits per node, from which an action that is visited is taken out. Choosing
an action therefore costs what the *visited* children cost, plus one look at the best unvisited action, which
is found again only when it is taken.

The kernels use no fastmath (NaN and -inf mean something), no threads, no globals and raise nothing: XLA may run
several of them at once. Index 0 is the root, which is nobody's child, so 0 also says "no node".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np

from muzen.errors import SearchError

NODE = np.dtype(
    [
        ("visits", np.int32),  # simulations through this node, its own expansion included
        ("first", np.int32),  # newest child; 0: none
        ("sibling", np.int32),  # next older child of the same parent; 0: none
        ("parent", np.int32),
        ("action", np.int32),  # action that led here
        ("to_play", np.int32),  # player who moves here
        ("best", np.int32),  # unvisited legal action with the highest score; -1: none
        ("children", np.int32),  # number of visited actions
        ("q", np.float32),  # r + γV, in the view of the player who moves at the parent
        ("score", np.float32),  # logit of the edge (at the root: plus its Gumbel noise)
        ("weight", np.float32),  # exp(logit of the edge - parent's highest logit)
        ("discount", np.float32),  # γ of the edge; 0: the episode ended here
        ("best_score", np.float32),  # score of `best`
        ("top", np.float32),  # highest score of all legal actions
        ("rest", np.float32),  # Gumbel: sum of exp(score - best_score) over unvisited; pUCT: prior of best; <0: stale
        # pUCT: 1 / sum of exp(score - top) over legal, <0: stale. Gumbel: scratch; of a root's child, visits that it
        # had before this search, <0: none.
        ("scale", np.float32),
    ]
)
WORDS = NODE.itemsize // 4

# Columns of `values[b, n, p]`.
SUM, REWARD, RAW = 0, 1, 2
# Columns of `pending[b]`: the edge whose state the network is asked for, and the leaf if it already exists.
PARENT, ACTION, LEAF = 0, 1, 2
# Entries of `settings`.
MODE, SPAN_FLOOR, MAX_DEPTH, C_VISIT, C_SCALE, TEMPERATURE, SETTINGS = 0, 1, 2, 3, 4, 5, 6
MODES = {"node": 0, "tree": 1, "none": 2}

_LOWEST = np.float32(-3e38)  # what a legal logit of -inf or NaN becomes: -inf says "illegal or taken"
_TINY = np.float32(np.finfo(np.float32).tiny)
_MINUS_INF = np.float32(-np.inf)
_ORDERED_MINUS_INF = np.int32(-2139095041)
_ONE = np.float32(16777216.0)  # 2**24, one in fixed point
_SIGN = np.int32(31)
_MAGNITUDE = np.int32(0x7FFFFFFF)

compiled = nb.njit(error_model="numpy", nogil=True, forceinline=True)
# For functions that take a function: one passed as an argument would keep the caller out of the disk cache.
inlined = nb.njit(error_model="numpy", nogil=True, inline="always")


class Buffers(NamedTuple):
    """The arrays that the kernels read and write in place.

    `nodes` [B, N] records, `values` [B, N, P, 3], `rows` [B, N, A] scores of unvisited legal actions,
    `interval` [B, P, 2] lowest and highest r + γV of each player, `pending` [B, 3].
    """

    nodes: np.ndarray
    values: np.ndarray
    rows: np.ndarray
    interval: np.ndarray
    pending: np.ndarray


class Inputs(NamedTuple):
    """What every simulation reads: `settings`, the rule's `table`, and `logits` [B, A] of the root (highest 0)."""

    settings: np.ndarray
    table: np.ndarray
    logits: np.ndarray


class Leaf(NamedTuple):
    """The network's answer for the pending edges, one row per root: a `Prediction` without its state."""

    reward: np.ndarray
    discount: np.ndarray
    to_play: np.ndarray
    legal: np.ndarray
    value: np.ndarray
    policy_logits: np.ndarray


@compiled
def exp(x):
    """exp of a float32 without a branch or a call, so that loops of it vectorise; relative error below 2e-7."""
    one = np.float32(1.0)
    bounded = x if x < np.float32(88.0) else np.float32(88.0)
    bounded = bounded if bounded > np.float32(-87.0) else np.float32(-87.0)
    magic = np.float32(12582912.0)  # adding 1.5 * 2**23 rounds to the nearest integer
    n = (bounded * np.float32(1.44269504) + magic) - magic
    r = (bounded - n * np.float32(0.693359375)) + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    y = p * (r * r) + (r + one)
    power = np.int32((np.int32(n) + 127) << 23).view(np.float32)
    return np.float32(0.0) if x < np.float32(-87.0) else y * power


@compiled
def find_best(row):
    """(Lowest index of the highest entry, that entry); (-1, -inf) if all are -inf. No entry is NaN."""
    # Float order as integer order: integer maxima vectorise without fastmath.
    bits = row.view(np.int32)
    highest = _ORDERED_MINUS_INF
    for a in range(row.shape[0]):
        x = np.int32(bits[a] ^ ((bits[a] >> _SIGN) & _MAGNITUDE))
        highest = x if x > highest else highest
    if highest == _ORDERED_MINUS_INF:
        return np.int32(-1), _MINUS_INF
    last = np.int32(row.shape[0])
    index = last
    for a in range(row.shape[0]):
        x = np.int32(bits[a] ^ ((bits[a] >> _SIGN) & _MAGNITUDE))
        i = np.int32(a) if x == highest else last
        index = i if i < index else index
    return index, row[index]


@compiled
def sum_exp(row, top):
    """Sum of exp(entry - top) over a row whose highest entry is at most `top`."""
    # Fixed point with 24 bits: integer sums vectorise, and do not depend on the order of the actions. 64 of them fit in
    # 32 bits, and a loop of as many, known when it is compiled, takes eight at once.
    total, whole = np.int64(0), row.shape[0] // 64 * 64
    for first in range(0, whole, 64):
        part = np.int32(0)
        for a in range(first, first + 64):
            part = np.int32(part + np.int32(exp(row[a] - top) * _ONE))
        total += part
    for a in range(whole, row.shape[0]):
        total += np.int32(exp(row[a] - top) * _ONE)
    return np.float32(total) / _ONE


@compiled
def clear_node(nodes, b, n):
    """Zero one record, so that nothing uninitialised is ever returned."""
    node = nodes[b, n]
    node.visits = 0
    node.first = 0
    node.sibling = 0
    node.parent = 0
    node.action = 0
    node.to_play = 0
    node.best = -1
    node.children = 0
    node.q = 0.0
    node.score = 0.0
    node.weight = 0.0
    node.discount = 0.0
    node.best_score = _MINUS_INF
    node.top = _MINUS_INF
    node.rest = -1.0
    node.scale = -1.0


@compiled
def player(to_play, players):
    """`to_play`, kept inside 0..P-1: a learned or terminal one may lie outside."""
    return to_play if 0 <= to_play < players else 0


@compiled
def write_node(buffers, b, n, to_play, discount, reward, value, logits, legal):
    """Fill node n of tree b with the network's answer, one visit and its own value in it."""
    clear_node(buffers.nodes, b, n)
    node = buffers.nodes[b, n]
    players = buffers.values.shape[2]
    node.visits = 1
    node.to_play = player(to_play, players)
    node.discount = discount
    for p in range(players):
        buffers.values[b, n, p, SUM] = value[p]
        buffers.values[b, n, p, REWARD] = reward[p]
        buffers.values[b, n, p, RAW] = value[p]
    fill_row(buffers, b, n, logits, legal)


@compiled
def fill_row(buffers, b, n, logits, legal):
    """Write node n's scores as those of a node of which nothing is visited."""
    node, row = buffers.nodes[b, n], buffers.rows[b, n]
    for a in range(row.shape[0]):
        # The sum with 0 turns -0 into 0: they tie, and their bits would not.
        x = logits[a] + np.float32(0.0)
        x = x if x > _LOWEST else _LOWEST
        row[a] = x if legal[a] != 0 else _MINUS_INF
    best, top = find_best(row)
    node.best = best
    node.best_score = top
    node.top = top


@compiled
def root_weight(root_logits, b, action):
    """`weight` of a root's child: from the prior's own logits, for the root's row carries noise."""
    weight = exp(root_logits[b, action])
    return weight if weight > _TINY else _TINY


@compiled
def clear_leaf(buffers, b, n):
    """Zero everything of node n of tree b."""
    clear_node(buffers.nodes, b, n)
    for p in range(buffers.values.shape[2]):
        for column in range(3):
            buffers.values[b, n, p, column] = 0.0
    for a in range(buffers.rows.shape[2]):
        buffers.rows[b, n, a] = _MINUS_INF


@compiled
def attach(buffers, b, parent, action, n, root_logits):
    """Link node n below `parent`, take its action out of the parent's row, and find the next best unvisited one."""
    nodes = buffers.nodes
    node, above = nodes[b, n], nodes[b, parent]
    row = buffers.rows[b, parent]
    node.parent = parent
    node.action = action
    node.sibling = above.first
    node.score = row[action]
    if parent == 0:
        node.weight = root_weight(root_logits, b, action)
    else:
        weight = exp(node.score - above.top)
        node.weight = weight if weight > _TINY else _TINY
    above.first = n
    above.children += 1
    row[action] = _MINUS_INF
    best, score = find_best(row)
    above.best = best
    above.best_score = score
    above.rest = -1.0


class Tree(NamedTuple):
    """A finished tree of every root, for drawing and for reuse.

    `nodes` [B, N, 16] int32 words of the records `NODE` (`records` shows them by name), `values` [B, N, P, 3]
    (value sum, reward, network value), `rows` [B, N, A] scores of the actions left unvisited, `interval` [B, P, 2],
    and `states`, the model's states, a pytree with leading axes [B, N].
    """

    nodes: Any
    values: Any
    rows: Any
    interval: Any
    states: Any


class Child(NamedTuple):
    """One visited action of a node: `q` is r + γV in the view of the player who moves there."""

    action: int
    node: int
    visits: int
    q: float
    reward: tuple[float, ...]
    discount: float
    value: tuple[float, ...]


def records(tree: Tree) -> np.ndarray:
    """[B, N] structured array of the tree's nodes, fields as in `NODE`."""
    nodes = np.ascontiguousarray(np.asarray(tree.nodes))
    return nodes.view(NODE)[..., 0]


def children(tree: Tree, root: int = 0, node: int = 0) -> list[Child]:
    """The visited actions of one node, the most visited first.

    Args:
      tree: `SearchResult.tree`.
      root: which of the B roots.
      node: index of the node; 0 is the root.

    Raises:
      SearchError: there is no such root or node.
    """
    nodes = records(tree)
    if not 0 <= root < nodes.shape[0] or not 0 <= node < nodes.shape[1]:
        raise SearchError(
            f"children: root {root}, node {node} is outside the tree of {nodes.shape[0]} roots x {nodes.shape[1]} nodes"
        )
    values, found = np.asarray(tree.values[root]), []
    n = int(nodes[root, node]["first"])
    while n:
        record, value = nodes[root, n], values[n]
        mean = value[:, SUM] / record["visits"]
        found.append(
            Child(
                int(record["action"]),
                n,
                int(record["visits"]),
                float(record["q"]),
                tuple(map(float, value[:, REWARD])),
                float(record["discount"]),
                tuple(map(float, mean)),
            )
        )
        n = int(record["sibling"])
    return sorted(found, key=lambda child: (-child.visits, child.action))


def principal_variation(tree: Tree, root: int = 0) -> list[int]:
    """Actions from one root along the most visited children (lowest action first among equals)."""
    actions, node = [], 0
    while below := children(tree, root, node):
        actions.append(below[0].action)
        node = below[0].node
    return actions
