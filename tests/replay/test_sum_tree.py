"""The sum tree against plain sums."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muzen.replay.sum_tree import inner_nodes, make_tree, tree_find, tree_rebuild, tree_set


def tree_of(weights):
    tree, inner = make_tree(len(weights)), inner_nodes(len(weights))
    for leaf, weight in enumerate(weights):
        tree_set(tree, inner, leaf, weight)
    return tree, inner


def depth_first(inner, leaves, node=0):
    """Leaves in the order in which a walk down the tree meets them."""
    if node >= inner:
        return [node - inner] if node - inner < leaves else []
    return [leaf for child in range(16 * node + 1, 16 * node + 17) for leaf in depth_first(inner, leaves, child)]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=600), st.floats(0, 1, exclude_max=True))
def test_a_draw_lands_on_the_leaf_under_the_point(weights, share):
    tree, inner = tree_of(weights)
    assert tree[0] == pytest.approx(sum(weights))
    if tree[0] == 0:
        return
    leaf = tree_find(tree, inner, share * tree[0])
    assert weights[leaf] > 0
    order = depth_first(inner, len(weights))
    below = sum(weights[i] for i in order[: order.index(leaf)])
    slack = 1e-9 * tree[0]
    assert below - slack <= share * tree[0] <= below + weights[leaf] + slack


def test_a_draw_never_lands_on_a_leaf_of_weight_zero_even_past_the_very_end():
    rng = np.random.default_rng(0)
    for _ in range(50):
        weights = np.where(rng.random(80) < 0.5, 0.0, 0.1)
        tree, inner = tree_of(weights)
        assert weights[tree_find(tree, inner, tree[0])] > 0
        assert weights[tree_find(tree, inner, tree[0] * 2)] > 0


@given(st.integers(1, 2000), st.integers(0, 2**32 - 1))
def test_a_tree_rebuilt_from_its_leaves_is_the_same_to_the_bit_whatever_its_history(leaves, seed):
    rng = np.random.default_rng(seed)
    tree, inner = make_tree(leaves), inner_nodes(leaves)
    for leaf in rng.integers(0, leaves, 300):
        tree_set(tree, inner, leaf, rng.random())
    other = make_tree(leaves)
    other[inner : inner + leaves] = tree[inner : inner + leaves]
    tree_rebuild(other, inner)
    np.testing.assert_array_equal(tree, other)


@pytest.mark.parametrize("leaves", [1, 2, 15, 16, 17, 31, 32, 256, 257, 4097])
def test_every_leaf_can_be_drawn(leaves):
    tree, inner = tree_of(np.ones(leaves))
    assert sorted(tree_find(tree, inner, i + 0.5) for i in range(leaves)) == list(range(leaves))
