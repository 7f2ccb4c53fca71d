"""A search divided over devices: each searches its part of the roots, and nothing else changes."""

import jax
import numpy as np
import pytest
from search_reference import KEY, label, plan, random_table

from muzen.devices import divided, everywhere, mesh_of
from muzen.errors import SearchError
from muzen.search import Gumbel, Puct, search

ROOTS = np.array([3, 1, 4, 1, 0, 2])


@pytest.mark.parametrize("explore", [False, np.array([0.5, 1, 2, 0.1, 1, 3], np.float32)], ids=["greedy", "exploring"])
@pytest.mark.parametrize("rule", [Gumbel(), Puct()], ids=label)
def test_a_divided_search_is_the_same_to_the_bit_where_the_model_is_a_table(rule, explore):
    table, mesh = random_table(0, 5, 3, players=2, illegal=0.2, ends=0.1), mesh_of(2)
    whole = plan(table, ROOTS, rule, explore=explore)
    root = divided(table.roots(ROOTS), mesh)
    found = search(everywhere(table, mesh), root, KEY, simulations=30, rule=rule, explore=explore, mesh=mesh)
    assert len(found.policy.addressable_shards) == 2
    assert found.policy.addressable_data(1).shape == (3, 3)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(np.asarray(a), b)


@pytest.mark.parametrize(("roots", "path"), [(ROOTS, "host"), (ROOTS[:5], "auto")])
def test_roots_that_cannot_be_divided_are_refused_with_the_way_out(roots, path):
    with pytest.raises(SearchError, match=rf"mesh: 2 devices cannot share {len(roots)} roots.*leave mesh out"):
        plan(random_table(0, 5, 3), roots, Gumbel(), path=path, mesh=mesh_of(2))
