"""Every choice in a tree against a slow search in float64; networks, whose answers have a rounding of their own."""

import equinox as eqx
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from regrown import Regrown
from search_reference import KEY, RULES, defaults_first, label, plan, random_table

from muzen.config import NetworkConfig
from muzen.maths.supports import CategoricalEncoding
from muzen.networks import NetworkModel, make_network
from muzen.search import Gumbel, Puct, search
from muzen.search.tree import records, sum_exp

# What float32 does to scores of this size.
KERNEL = 1e-5
BOUNDED = [Gumbel(3, bounds=(-4.0, 4.0), span_floor=9.0), Puct(bounds=(-4.0, 4.0), span_floor=9.0)]


@pytest.mark.parametrize("rule", defaults_first(RULES + BOUNDED), ids=label)
@settings(max_examples=6)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.5]))
def test_every_choice_has_the_highest_score_of_a_slow_search(rule, seed, illegal):
    table = random_table(seed, 64, 4, players=3, illegal=illegal)
    tree = plan(table, np.arange(3), rule, simulations=40).tree
    for root in range(3):
        slow = Regrown(tree, root, rule)
        for node in range(1, 41):
            for at, action in slow.grow(node).choices(node):
                scores = slow.scores(at)
                assert scores[action] > scores.max() - KERNEL, (root, node, at, action, scores)


@pytest.mark.parametrize("actions", [1, 63, 64, 65, 362])
def test_the_sum_of_exponentials_counts_every_action_once(actions):
    row = np.random.default_rng(actions).normal(0, 3, actions).astype(np.float32)
    row[3::5] = -np.inf  # illegal, or visited
    wanted = np.exp(row.astype(np.float64) - row.max()).sum()
    np.testing.assert_allclose(sum_exp(row, row.max()), wanted, rtol=1e-5)


def network(players):
    """The built-in network with weights that give it an opinion on everything."""
    value, reward = CategoricalEncoding(limit=20.0, bins=41), CategoricalEncoding(limit=3.0, bins=21)
    net = make_network(NetworkConfig(width=32), (6,), 4, value.bins, reward.bins, players, KEY)
    rng = np.random.default_rng(players)

    def opinionated(x):
        return x + 0.2 * rng.normal(size=x.shape).astype(np.float32) if eqx.is_inexact_array(x) else x

    return NetworkModel(jax.tree.map(opinionated, net), value, reward, gamma=0.97, num_actions=4, players=players)


def said(logits, value, reward, discount):
    """[.., A + 2 P + 1] numbers of a model's answers; the highest logit is 0."""
    logits, discount = np.asarray(logits), np.asarray(discount)
    return np.concatenate([logits - logits.max(-1, keepdims=True), value, reward, discount[..., None]], -1)


def answers(tree):
    """[B, N, A + 2 P + 1] what the model said of every node."""
    trees = (Regrown(tree, row, Puct()) for row in range(len(tree.nodes)))
    return np.array([said(one.logits, one.raw, one.reward, one.discount) for one in trees])


def exact_answers(model, root, tree):
    """`answers` for the same edges by the same network in float64, from the root's state on."""
    nodes = records(tree)
    batch, count = nodes.shape
    with jax.enable_x64(True):
        wide, start = jax.tree.map(
            lambda x: np.asarray(x, np.float64) if eqx.is_inexact_array(x) else x, (model, root.state)
        )
        step = eqx.filter_jit(lambda model, state, action: model.recurrent(state, action))
        states = jax.tree.map(lambda x: np.repeat(x[:, None], count, 1), start)
        found = [root]
        for n in range(1, count):
            at = (np.arange(batch), nodes["parent"][:, n])
            found.append(step(wide, jax.tree.map(lambda s, at=at: s[at], states), nodes["action"][:, n]))
            for store, new in zip(jax.tree.leaves(states), jax.tree.leaves(found[n].state), strict=True):
                store[:, n] = new
    assert found[-1].value.dtype == np.float64
    return np.stack([said(x.policy_logits, x.value, x.reward, x.discount) for x in found], 1)


def first_differences(one, two):
    """[B] lowest node that hangs at different edges of two trees; N where they are the same."""
    one, two = records(one), records(two)
    different = (one["parent"] != two["parent"]) | (one["action"] != two["action"])
    return np.where(different.any(1), different.argmax(1), different.shape[1])


def assert_only_answers_part(one, two, rule, row, node):
    """The first edges in which two trees differ: for either tree its own is best, by no more than the scores moved."""
    one, two = (Regrown(tree, row, rule).grow(node) for tree in (one, two))
    pairs = zip(one.choices(node), two.choices(node), strict=False)
    (at, a), (_, b) = next(pair for pair in pairs if pair[0] != pair[1])
    first, second = one.scores(at)[[a, b]], two.scores(at)[[a, b]]
    moved = np.abs(first - second).sum()
    assert -KERNEL <= first[0] - first[1] <= moved + KERNEL, (first, second)
    assert -KERNEL <= second[1] - second[0] <= moved + KERNEL, (first, second)


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "players"), [(Gumbel(), 1), (Puct(), 2)], ids=["gumbel-1", "puct-2"])
def test_paths_and_batches_part_only_where_two_scores_lie_within_the_networks_rounding(rule, players):
    model, observation = network(players), np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32)
    root = jax.tree.map(np.asarray, eqx.filter_jit(model.initial)(observation))

    def ask(model, root, path):
        found = search(model, root, KEY, simulations=80, rule=rule, path=path)
        return jax.tree.map(np.asarray, found)

    whole, host = ask(model, root, "xla"), ask(model, root, "host")
    parts = [ask(model, jax.tree.map(lambda x, i=i: x[i : i + 3], root), "host") for i in range(0, 24, 3)]
    apart = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    rounding = np.abs(answers(whole.tree) - exact_answers(model, root, whole.tree)).max((0, 1))
    assert rounding.max() < 1e-5
    for other in (host, apart):
        nodes = first_differences(whole.tree, other.tree)
        moved = np.abs(answers(whole.tree) - answers(other.tree))
        for row, node in enumerate(nodes):
            assert (moved[row, :node] <= 4 * rounding + 1e-9).all()
            if node < len(moved[row]):
                assert_only_answers_part(whole.tree, other.tree, rule, row, node)
            else:
                np.testing.assert_array_equal(whole.visits[row], other.visits[row])


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES, ids=label)
def test_models_that_differ_a_little_part_only_where_their_answers_moved_the_choice(rule):
    table = random_table(23, 64, 4, players=2)
    one = plan(table, np.arange(64), rule, simulations=40).tree
    nudged = table._replace(value=table.value * np.float32(1.03))
    two = plan(nudged, np.arange(64), rule, simulations=40, path="host").tree
    nodes = first_differences(one, two)
    assert (nodes <= 40).sum() >= 1
    for row in np.flatnonzero(nodes <= 40):
        assert_only_answers_part(one, two, rule, row, nodes[row])
