"""Models that answer in Python: the same search, with objects for states, asked for every new leaf once."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from search_reference import KEY, RULES, Table, defaults_first, label, plan
from test_search import ROOTS, assert_same, tables

from muzen.errors import SearchError
from muzen.search import Gumbel, children, principal_variation, search
from muzen.types import HostModel, Prediction


class OnHost:
    """A table as a host model: a state is an object that holds its number; `asked` remembers the new leaves."""

    def __init__(self, table):
        self.table, self.asked = table, []

    def roots(self, state):
        size, players = len(state), self.table.value.shape[1]
        return self._at(np.asarray(state), np.zeros((size, players), np.float32), np.ones(size, np.float32))

    def expand(self, state, action):
        number = np.array([handle[0] for handle in state], np.int32)
        self.asked.append(len(number))
        table = self.table
        return self._at(table.following[number, action], table.reward[number, action], table.discount[number, action])

    def _at(self, number, reward, discount):
        table = self.table
        said = (x[number] for x in (table.to_play, table.legal, table.value, table.logits))
        return Prediction(reward, discount, *said, state=handles(number))


def handles(numbers):
    """[M] objects: lists, which numpy would rather turn into rows."""
    out = np.empty(len(numbers), object)
    for i, number in enumerate(numbers):
        out[i] = [int(number)]
    return out


def on_host(table, state, rule, simulations=30, **options):
    model = OnHost(table)
    found = search(model, model.roots(state), KEY, simulations=simulations, rule=rule, **options)
    return found, model


@pytest.mark.parametrize("rule", defaults_first(RULES), ids=label)
@settings(max_examples=6)
@given(tables)
def test_a_model_in_python_is_searched_as_the_same_model_in_a_program_is(rule, table):
    found, model = on_host(table, ROOTS, rule, explore=True)
    assert_same(found, plan(table, ROOTS, rule, explore=True))
    assert found.tree.states[0, 0] == [0] and isinstance(model, HostModel)


def test_a_leaf_that_the_walk_comes_back_to_is_not_asked_for_again():
    ends = _one_move_game()
    found, model = on_host(ends, [0, 0], Gumbel(), simulations=10)
    assert model.asked == [2, 2, 2]  # three actions in two trees, and then every leaf is known
    assert found.visits.sum() == 20


def test_batches_shrink_where_only_some_trees_have_a_new_leaf():
    table = _one_move_game(long_ones=4)
    found, model = on_host(table, [0, 1], Gumbel(), simulations=8)
    assert model.asked[:3] == [2, 2, 2] and set(model.asked[3:]) == {1}
    assert len(model.asked) == 8
    assert children(found.tree, 0)[0].discount == 0 and principal_variation(found.tree, 1)


def _one_move_game(long_ones=0):
    """State 0: three actions that end the game. State 1, if asked for, goes on for ever."""
    size = 1 + long_ones
    following = np.minimum(np.arange(size)[:, None] + np.ones((1, 3), int), size - 1).astype(np.int32)
    discount = np.ones((size, 3), np.float32)
    discount[0] = 0
    return Table(
        following,
        np.ones((size, 3, 1), np.float32),
        discount,
        np.zeros(size, np.int32),
        np.ones((size, 3), bool),
        np.zeros((size, 1), np.float32),
        np.zeros((size, 3), np.float32),
    )


def test_a_model_in_python_cannot_be_put_into_a_program():
    table = _one_move_game()
    with pytest.raises(SearchError, match="path: 'xla' cannot be used with a model that answers in Python"):
        on_host(table, [0], Gumbel(), path="xla")
    model = OnHost(table)
    with pytest.raises(SearchError, match=r"call search outside jit and scan(?!, or)"):
        jax.jit(lambda key: search(model, table.roots(np.array([0])), key, simulations=2).action)(KEY)


def test_an_answer_of_the_wrong_shape_names_its_field():
    class Wrong(OnHost):
        def expand(self, state, action):
            return super().expand(state, action)._replace(value=np.zeros(len(state)))

    model = Wrong(_one_move_game())
    with pytest.raises(SearchError, match=r"expand.value: shape \(1,\) is not \[B, P\]"):
        search(model, model.roots([0]), KEY, simulations=2)


def test_an_answer_of_other_actions_than_the_roots_names_its_field():
    class Wrong(OnHost):
        def expand(self, state, action):
            found = super().expand(state, action)
            return found._replace(policy_logits=np.zeros((len(state), 5)), legal=np.ones((len(state), 5), bool))

    model = Wrong(_one_move_game())
    with pytest.raises(SearchError, match=r"expand.policy_logits: shape \(1, 5\) is not \(1, 3\)"):
        search(model, model.roots([0]), KEY, simulations=2)


def test_the_states_of_a_host_model_may_be_any_arrays():
    class Count:
        def expand(self, state, action):
            return self.say(state["n"] + action)

        def say(self, n):
            size = len(n)
            zeros = np.zeros((size, 2), np.float32)
            return Prediction(
                reward=(n[:, None] % 2).astype(np.float32),
                discount=np.full(size, 0.5, np.float32),
                to_play=np.zeros(size, np.int32),
                legal=zeros == 0,
                value=zeros[:, :1],
                policy_logits=zeros,
                state={"n": n, "text": n.astype(str).astype(object)},
            )

    model = Count()
    found = search(model, model.say(np.array([0, 1])), KEY, simulations=6)
    assert found.tree.states["n"].shape == found.tree.states["text"].shape == (2, 7)
    for child in children(found.tree, 1):
        assert found.tree.states["text"][1, child.node] == str(1 + child.action)
