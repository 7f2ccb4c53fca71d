"""Tree reuse: what is kept is what was there, and a search goes on from it as if it had begun there."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from regrown import Regrown
from search_reference import KEY, RULES, defaults_first, label, plan, random_table
from test_choices import BOUNDED, KERNEL
from test_host_model import OnHost
from test_search import assert_same

from muzen.errors import SearchError
from muzen.search import Gumbel, Puct, children, joined, reuse, search
from muzen.search.gumbel import considered_visits
from muzen.search.tree import records

SEEDS = st.integers(0, 2**31)
both_rules = pytest.mark.parametrize("rule", [Gumbel(3), Puct()], ids=["gumbel", "puct"])


def below(tree, root, node=0):
    """Everything that a reader can know of a node and what lies below it, without the numbers of nodes."""
    found = {}
    for child in children(tree, root, node):
        facts = child._replace(node=0), int(tree.states[root, child.node]), below(tree, root, child.node)
        found[child.action] = (*facts, sorted(tree.rows[root, child.node].tolist()))
    return found


@both_rules
@settings(max_examples=8)
@given(SEEDS)
def test_what_is_kept_is_what_was_there(rule, seed):
    table = random_table(seed, 64, 4, players=2, illegal=0.2, ends=0.1)
    found = plan(table, np.arange(4), rule, simulations=60, path="host")
    for action in range(4):
        kept = reuse(found.tree, [action] * 4)
        for root in range(4):
            old = {child.action: child for child in children(found.tree, root)}.get(action)
            if old is None or old.discount == 0:
                assert records(kept)[root]["visits"].sum() == 0
                continue
            assert records(kept)[root, 0]["visits"] == old.visits
            assert below(kept, root) == below(found.tree, root, old.node)
            np.testing.assert_array_equal(kept.values[root, 0], found.tree.values[root, old.node])
            assert kept.states[root, 0] == found.tree.states[root, old.node]
        np.testing.assert_array_equal(kept.interval, found.tree.interval)


@both_rules
def test_two_moves_at_once_are_one_after_the_other(rule):
    table = random_table(3, 64, 3, players=2)
    tree = plan(table, np.arange(4), rule, simulations=80, path="host").tree
    lines = [[0, 1], [2], None, []]
    at_once = reuse(tree, lines)
    first = reuse(tree, [0, 2, None, []])
    second = reuse(first, [1, [], None, []])
    for x, y in zip(at_once[:4], second[:4], strict=True):
        np.testing.assert_array_equal(x, y)
    there = records(at_once)["visits"] > 0
    np.testing.assert_array_equal(np.asarray(at_once.states)[there], np.asarray(second.states)[there])
    assert records(at_once)[3, 0]["visits"] == 81 and records(at_once)[2]["visits"].sum() == 0


@both_rules
def test_roots_of_several_searches_go_on_as_each_alone(rule):
    table = random_table(5, 64, 3, players=2, illegal=0.2)

    def trees(*simulations):
        return [plan(table, np.arange(3), rule, simulations=n, path="host").tree for n in simulations]

    few, many = (tree._replace(states=tree.states.astype(object)) for tree in trees(20, 60))
    moves = [next(iter(children(*root))).action for root in ((few, 2), (many, 0), (few, 1))]
    kept = reuse(joined([(few, 2), None, (many, 0), (few, 1)]), [moves[0], None, *moves[1:]])
    alone = [(reuse(few, [None, None, moves[0]]), 2), (reuse(many, [moves[1]] + [None] * 2), 0)]
    alone += [(reuse(few, [None, moves[2], None]), 1)]
    for root, (tree, row) in zip((0, 2, 3), alone, strict=True):
        assert records(kept)[root, 0]["visits"] == records(tree)[row, 0]["visits"] > 1
        assert below(kept, root) == below(tree, row)
        np.testing.assert_array_equal(kept.interval[root], tree.interval[row])
    assert records(kept)[1]["visits"].sum() == 0
    states = np.array([kept.states[0, 0], 7, kept.states[2, 0], kept.states[3, 0]], np.int32)
    kept = kept._replace(states=np.where(kept.states == None, 7, kept.states).astype(np.int32))  # noqa: E711
    together = plan(table, states, rule, 30, "host", tree=kept)
    fresh = plan(table, np.array([7], np.int32), rule, 30, "host")
    np.testing.assert_array_equal(together.visits[1], fresh.visits[0])
    assert joined([None, None]) is None


def after(table, roots, rule, kept, simulations, path="host", **options):
    """The search from the reused tree, of a table whose states are the tree's own roots."""
    state = np.where(records(kept)[:, 0]["visits"] > 0, kept.states[:, 0], roots).astype(np.int32)
    return plan(table, state, rule, simulations, path, tree=kept, **options)


@pytest.mark.parametrize("normalise", ["none", pytest.param("node", marks=pytest.mark.slow)])
@settings(max_examples=3)
@given(SEEDS)
def test_puct_goes_on_exactly_as_a_search_that_began_at_the_new_root(normalise, seed):
    # pUCT has no rule of its own at the root, and here nothing outside the subtree matters.
    table, rule = random_table(seed, 64, 4, players=2, illegal=0.2, ends=0.1), Puct(normalise=normalise)
    found = plan(table, np.arange(3), rule, simulations=50, path="host")
    for root in range(3):
        for child in (child for child in children(found.tree, root) if child.discount > 0):
            tree = jax.tree.map(lambda x, root=root: x[root : root + 1], found.tree)
            went_on = after(table, [0], rule, reuse(tree, [child.action]), 30)
            state = found.tree.states[root, child.node]
            assert_same(went_on, plan(table, [state], rule, child.visits - 1 + 30, "host"))


class Continued(Regrown):
    """Regrown from a reused tree of `first` nodes: sequential halving counts the visits of its own search only."""

    def __init__(self, tree, rule, first, kept):
        super().__init__(tree, 0, rule)
        self.simulations -= first - 1
        self.grow(first)
        self.before = self.visits.copy()
        low, high = (np.inf, -np.inf) if rule.bounds is None else rule.bounds
        self.low, self.high = np.minimum(kept.interval[0, :, 0], low), np.maximum(kept.interval[0, :, 1], high)

    def _gumbel(self, n, visits, q):
        if n != 0:
            return super()._gumbel(n, visits, q)
        nodes = np.flatnonzero(self.parent[1 : self.size] == 0) + 1
        fresh = np.zeros(len(visits))
        fresh[self.action[nodes]] = self.visits[nodes] - np.where(nodes < len(self.before), self.before[nodes], 0)
        considered = considered_visits(min(self.rule.max_considered, int((self.logits[0] > -np.inf).sum())), 30)
        return np.where(fresh == considered[int(fresh.sum())], self._root_scores(visits, q), -np.inf)

    def _root_scores(self, visits, q):
        """logits + σ(completed q), whatever is considered."""
        prior, visited, total = np.exp(self.logits[0]) / np.exp(self.logits[0]).sum(), visits > 0, visits.sum()
        mixed = self.raw[0, self.to_play[0]]
        if total > 0:
            mixed = (mixed + total * (prior @ q) / prior[visited].sum()) / (1 + total)
        completed = np.where(visited, q, mixed)
        scale = (self.rule.c_visit + visits.max()) * self.rule.c_scale
        return self.logits[0] + scale * self._rescaled(0, completed, completed)


@pytest.mark.parametrize("rule", defaults_first(RULES + BOUNDED), ids=label)
@settings(max_examples=4)
@given(SEEDS)
def test_every_choice_after_reuse_has_the_highest_score_of_a_slow_search(rule, seed):
    table = random_table(seed, 64, 4, players=2, illegal=0.3)
    found = plan(table, [0, 1], rule, simulations=40, path="host")
    for root in range(2):
        best = children(found.tree, root)[0]
        kept = reuse(jax.tree.map(lambda x, root=root: x[root : root + 1], found.tree), [best.action])
        first = kept.nodes.shape[1]
        slow = Continued(after(table, [0], rule, kept, 30).tree, rule, first, kept)
        for node in range(first, first + 30):
            for at, action in slow.grow(node).choices(node):
                scores = slow.scores(at)
                assert scores[action] > scores.max() - KERNEL, (root, node, at, action, scores)


@both_rules
@settings(max_examples=6)
@given(SEEDS, st.booleans())
def test_simulations_come_on_top_of_the_visits_that_were_kept(rule, seed, explore):
    table = random_table(seed, 64, 4, players=2)
    found = plan(table, np.arange(4), rule, simulations=40, path="host")
    kept = reuse(found.tree, found.action)
    before = np.array([sum(child.visits for child in children(kept, root)) for root in range(4)])
    assert before.max() > 3
    went_on = after(table, np.arange(4), rule, kept, 25, explore=explore)
    np.testing.assert_array_equal(went_on.visits.sum(1), before + 25)
    np.testing.assert_array_equal(records(went_on.tree)[:, 0]["visits"], records(kept)[:, 0]["visits"] + 25)
    if isinstance(rule, Gumbel):
        for root in range(4):
            fresh = went_on.visits[root].copy()
            for child in children(kept, root):
                fresh[child.action] -= child.visits
            halving = sorted(plan(table, [0], rule, 25).visits[0])
            assert sorted(fresh) == halving, "sequential halving divides the new simulations"
            assert fresh[went_on.action[root]] == max(fresh)


@both_rules
def test_roots_that_keep_something_and_roots_that_begin_afresh_equal_each_alone(rule):
    table = random_table(5, 64, 4, players=2, illegal=0.2)
    found = plan(table, np.arange(4), rule, simulations=40, path="host")
    moves = [int(found.action[0]), None, int(found.action[2]), [int(found.action[3])] * 9]
    whole = after(table, np.arange(10, 14), rule, reuse(found.tree, moves), 20)
    fresh = plan(table, np.arange(10, 14), rule, 20)
    for root in range(4):
        tree = jax.tree.map(lambda x, root=root: x[root : root + 1], found.tree)
        alone = after(table, [10 + root], rule, reuse(tree, [moves[root]]), 20)
        assert_same([x[root : root + 1] for x in whole[:5]], alone)
        if root in (1, 3):
            assert_same([x[root : root + 1] for x in fresh[:5]], alone)


@both_rules
def test_a_model_in_python_goes_on_as_a_learned_one_does(rule):
    table = random_table(7, 64, 4, players=2, illegal=0.2, ends=0.1)
    learned = plan(table, np.arange(4), rule, simulations=40, path="host")
    model = OnHost(table)
    found = search(model, model.roots(np.arange(4)), KEY, simulations=40, rule=rule)
    moves = [int(a) for a in found.action[:3]] + [None]
    expected = after(table, np.arange(4), rule, reuse(learned.tree, moves), 20)
    kept = reuse(found.tree, moves)
    went_on = search(model, model.roots(np.arange(4)), KEY, simulations=20, rule=rule, tree=kept)
    assert_same(went_on, expected)
    known = records(kept)["visits"] > 0
    assert all((state is not None) == there for state, there in zip(kept.states.ravel(), known.ravel(), strict=True))


def test_what_does_not_fit_is_refused_with_the_way_out():
    table = random_table(1, 8, 3)
    tree = plan(table, [0, 1], Puct(), 5, "host").tree
    for moves, message in (
        ([0], "moves: 1 for 2 roots; give one action, or one sequence, for each"),
        ([0, 3], r"moves: \[3\] of root 1 is outside 0..2"),
    ):
        with pytest.raises(SearchError, match=message):
            reuse(tree, moves)
    kept = reuse(tree, [0, 0])
    with pytest.raises(SearchError, match="tree: of 2 roots, 3 actions and 1 players, but root has 1, 3 and 1"):
        plan(table, [0], Puct(), 5, tree=kept)
    with pytest.raises(SearchError, match="path: 'xla' cannot be used with a reused tree"):
        plan(table, [0, 1], Puct(), 5, "xla", tree=kept)
    with pytest.raises(SearchError, match="tree: SearchResult is no tree"):
        plan(table, [0, 1], Puct(), 5, tree=plan(table, [0, 1], Puct(), 5))
