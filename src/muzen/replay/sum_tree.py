"""A sum tree over the rows of replay: draw a row with probability proportional to its weight in O(log n).

The tree is a 16-ary heap in one array: node i has children 16 i + 1 .. 16 i + 16, the last nodes are the
leaves. Sixteen neighbours share two cache lines, so a draw touches log16 n places instead of log2 n, and
the inner nodes cost a fifteenth of the leaves. A node is always the sum of its children recomputed in
order, never adjusted by a difference: rounding does not pile up, and a tree rebuilt from its leaves is
the same to the bit.
"""

from __future__ import annotations

import numpy as np

from muzen.caches import kernel

ARITY = 16


def inner_nodes(leaves: int) -> int:
    """Nodes above `leaves` leaves; leaf i is node `inner_nodes(leaves) + i`."""
    return max(1, -(-(leaves - 1) // (ARITY - 1)))


def tree_size(leaves: int) -> int:
    """Length of the array that holds a tree of `leaves` leaves."""
    return ARITY * inner_nodes(leaves) + 1


def make_tree(leaves: int) -> np.ndarray:
    """[tree_size] float64, every weight 0."""
    return np.zeros(tree_size(leaves))


@kernel
def tree_sum(tree: np.ndarray, node: int) -> float:
    """The sum of the node's children, in order."""
    total = 0.0
    first = 16 * node + 1
    for child in range(first, first + 16):
        total += tree[child]
    return total


@kernel
def tree_set(tree: np.ndarray, inner: int, leaf: int, weight: float) -> None:
    """Give `leaf` the weight, and bring the sums above it up to date."""
    node = inner + leaf
    tree[node] = weight
    while node > 0:
        node = (node - 1) // 16
        tree[node] = tree_sum(tree, node)


@kernel
def tree_rebuild(tree: np.ndarray, inner: int) -> None:
    """Recompute every inner node from the leaves."""
    for node in range(inner - 1, -1, -1):
        tree[node] = tree_sum(tree, node)


@kernel
def tree_find(tree: np.ndarray, inner: int, point: float) -> int:
    """The leaf under `point` where leaves lie end to end in depth-first order, each as long as its weight.

    Args:
      point: in [0, total weight); the total must be above 0.

    Returns:
      A leaf whose weight is above 0: rounding at the end of a node falls back to its last such child.
    """
    node = 0
    while node < inner:
        chosen = -1
        first = 16 * node + 1
        for child in range(first, first + 16):
            if tree[child] > 0.0:
                chosen = child
                if point < tree[child]:
                    break
                point -= tree[child]
        node = chosen
    return node - inner
