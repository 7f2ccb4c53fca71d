"""What any search must do, whichever rule and path: invariances, masks, noise, players, ends of episodes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from search_reference import KEY, RULES, Table, defaults_first, label, plan, random_table

import muzen.search
from muzen.errors import SearchError
from muzen.search import Gumbel, Puct, children, principal_variation, search
from muzen.search.puct import log_gamma
from muzen.search.tree import records
from muzen.types import Prediction

both_rules = pytest.mark.parametrize("rule", [Gumbel(), Puct()], ids=["gumbel", "puct"])
ROOTS = np.arange(8)
tables = st.builds(
    random_table,
    seed=st.integers(0, 2**31),
    states=st.just(64),
    actions=st.just(4),
    players=st.just(2),
    illegal=st.sampled_from([0.0, 0.3, 0.6]),
    ends=st.sampled_from([0.0, 0.2]),
    spread=st.sampled_from([1e-2, 1.0, 100.0]),
)
all_rules = pytest.mark.parametrize("rule", defaults_first(RULES), ids=label)
few = settings(max_examples=20)


def test_public_names_are_sorted_and_complete():
    assert muzen.search.__all__ == sorted(muzen.search.__all__)
    assert all(hasattr(muzen.search, name) for name in muzen.search.__all__)


def assert_same(first, second):
    for a, b in zip(first[:5], second[:5], strict=True):
        np.testing.assert_array_equal(a, b)


@all_rules
@settings(max_examples=8)  # each calls a program for every simulation
@given(tables)
def test_both_paths_give_the_same_answer(rule, table):
    xla, host = (plan(table, ROOTS, rule, explore=True, path=path) for path in ("xla", "host"))
    assert_same(xla, host)
    assert principal_variation(xla.tree, 3) == principal_variation(host.tree, 3)


@all_rules
@settings(max_examples=4)
@given(tables)
def test_a_batch_equals_its_rows_searched_alone(rule, table):
    whole = plan(table, ROOTS, rule)
    for row in ROOTS:
        assert_same([x[row : row + 1] for x in whole[:5]], plan(table, [row], rule))


@all_rules
@few
@given(tables, st.permutations(range(4)))
def test_a_permutation_of_actions_permutes_the_result(rule, table, order):
    order = np.array(order)
    other = table._replace(
        following=table.following[:, order],
        reward=table.reward[:, order],
        discount=table.discount[:, order],
        legal=table.legal[:, order],
        logits=table.logits[:, order],
    )
    first, second = plan(table, ROOTS, rule), plan(other, ROOTS, rule)
    np.testing.assert_array_equal(first.visits[:, order], second.visits)
    np.testing.assert_array_equal(first.q[:, order], second.q)
    np.testing.assert_array_equal(first.value, second.value)
    np.testing.assert_allclose(first.policy[:, order], second.policy, atol=1e-6)
    # The most visited action, pUCT's choice, may not be the only one.
    clear = (first.visits == first.visits.max(-1, keepdims=True)).sum(-1) <= (1 if isinstance(rule, Puct) else 4)
    np.testing.assert_array_equal(first.action[clear], order[second.action][clear])


@all_rules
@few
@given(tables, st.integers(-800, 800))
def test_adding_a_constant_to_logits_changes_nothing(rule, table, eighths):
    # Eighths keep the shifted sums exact in float32.
    table = table._replace(logits=np.round(table.logits * 8) / 8)
    shifted = table._replace(logits=table.logits + np.float32(eighths / 8))
    assert_same(plan(table, ROOTS, rule), plan(shifted, ROOTS, rule))


SCALED = [Gumbel(), Gumbel(normalise="node"), Puct(), Puct(normalise="node")]
BOUNDED = [replace(rule, bounds=(-3.0, 2.0), span_floor=0.5) for rule in (Gumbel(), Puct())]


@pytest.mark.parametrize("rule", defaults_first(SCALED + BOUNDED), ids=label)
@few
@given(tables, st.integers(-12, 12))
def test_scaling_rewards_values_and_bounds_together_changes_nothing(rule, table, power):
    factor = np.float32(2.0**power)
    scaled_rule = rule
    if rule.bounds is not None:
        low, high = rule.bounds
        scaled_rule = replace(rule, bounds=(low * factor, high * factor), span_floor=rule.span_floor * factor)
    first = plan(table, ROOTS, rule)
    second = plan(table._replace(reward=table.reward * factor, value=table.value * factor), ROOTS, scaled_rule)
    assert_same(first._replace(value=first.value * factor, q=first.q * factor), second)


@all_rules
@few
@given(tables)
def test_one_simulation_follows_the_prior(rule, table):
    found = plan(table, np.arange(64), rule, simulations=1)
    masked = np.where(table.legal, table.logits, -np.inf)
    np.testing.assert_array_equal(found.visits.argmax(-1), masked.argmax(-1))


@both_rules
def test_the_first_visit_below_a_node_follows_the_prior(rule):
    table = random_table(25, 64, 4, illegal=0.3)
    table.legal[:8] = np.arange(4) == 0
    found = plan(table, np.arange(8), rule, simulations=2)
    masked = np.where(table.legal, table.logits, -np.inf)
    for root in range(8):
        assert principal_variation(found.tree, root) == [0, masked[table.following[root, 0]].argmax()]


@all_rules
def test_equal_scores_go_to_the_lowest_action(rule):
    table = random_table(7, 64, 4)
    table = table._replace(logits=np.zeros_like(table.logits))
    assert (plan(table, np.arange(64), rule, simulations=1).action == 0).all()
    table = table._replace(reward=np.zeros_like(table.reward), value=np.zeros_like(table.value))
    found = plan(table, np.arange(8), rule, simulations=6)
    assert (found.visits == [2, 2, 1, 1]).all() and (found.action == 0).all()


@all_rules
def test_illegal_actions_are_never_visited_and_have_no_policy(rule):
    table = random_table(8, 64, 4, illegal=0.6)
    found = plan(table, np.arange(8), rule, explore=True)
    illegal = ~table.legal[:8]
    assert (found.visits[illegal] == 0).all() and (found.policy[illegal] == 0).all()
    assert table.legal[np.arange(8), found.action].all()
    np.testing.assert_allclose(found.policy.sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(found.visits.sum(-1), 30)
    for root in range(5):
        line, state = principal_variation(found.tree, root), root
        for action in line:
            assert table.legal[state, action]
            state = table.following[state, action]


@both_rules
def test_illegal_actions_change_nothing_for_the_legal_ones(rule):
    table = random_table(23, 64, 3)
    places, rng = np.array([2, 5, 9]), np.random.default_rng(0)

    def wider(x):
        """Ten actions of which three are legal; the others would be tempting."""
        wide = rng.integers(0, 64, (64, 10, *x.shape[2:])).astype(x.dtype)
        wide[:, places] = x
        return wide

    names = ("following", "reward", "discount", "logits")
    other = table._replace(**{name: wider(getattr(table, name)) for name in names}, legal=np.zeros((64, 10), bool))
    other.legal[:, places] = True
    few, many = plan(table, np.arange(8), rule), plan(other, np.arange(8), rule)
    np.testing.assert_array_equal(many.visits[:, places], few.visits)
    np.testing.assert_array_equal(places[few.action], many.action)
    np.testing.assert_allclose(many.policy[:, places], few.policy, atol=1e-6)


@both_rules
def test_evaluation_search_adds_no_noise(rule):
    table = random_table(9, 64, 4)
    one, two = (plan(table, np.arange(8), rule, key=jax.random.key(k)) for k in (1, 2))
    np.testing.assert_array_equal(one.visits, two.visits)
    np.testing.assert_array_equal(one.action, two.action)


@both_rules
def test_exploration_noise_is_fresh_for_every_root_and_every_key(rule):
    table = random_table(10, 64, 4)
    table = table._replace(logits=np.zeros_like(table.logits), value=np.zeros_like(table.value))
    table = table._replace(reward=np.zeros_like(table.reward))
    one, two = (plan(table, np.zeros(8), rule, key=jax.random.key(k), explore=True) for k in (1, 2))
    assert len(np.unique(one.visits, axis=0)) > 3
    assert (one.visits != two.visits).any()


@both_rules
def test_exploration_can_be_set_for_each_root(rule):
    table = random_table(22, 64, 4)
    wanted = np.array([0, 1] * 4)
    mixed = plan(table, np.arange(8), rule, explore=wanted.astype(np.float32))
    none, all_ = (plan(table, np.arange(8), rule, explore=flag) for flag in (False, True))
    for quiet, noisy, found in zip(none[:5], all_[:5], mixed[:5], strict=True):
        np.testing.assert_array_equal(found[::2], quiet[::2])
        np.testing.assert_array_equal(found[1::2], noisy[1::2])


@both_rules
def test_one_key_gives_one_result(rule):
    table = random_table(11, 64, 4)
    one, two = (plan(table, np.arange(8), rule, explore=True) for _ in range(2))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


@both_rules
def test_a_root_with_a_key_of_its_own_keeps_its_noise_whatever_else_is_searched(rule):
    table = random_table(23, 64, 4)
    keys = jax.random.split(KEY, 8)
    all_ = plan(table, np.arange(8), rule, key=keys, explore=True)
    some = plan(table, np.arange(8)[5:2:-1], rule, key=keys[5:2:-1], explore=True)
    for a, b in zip(all_[:5], some[:5], strict=True):
        np.testing.assert_array_equal(a[5:2:-1], b)
    same = plan(table, np.zeros(8), rule, key=jnp.stack([KEY] * 8), explore=True)
    assert (same.visits == same.visits[0]).all() and (same.action == same.action[0]).all()
    fresh = plan(table, np.zeros(8), rule, key=keys, explore=True)
    assert len(np.unique(fresh.visits, axis=0)) > 1


def test_gumbel_noise_is_added_to_logits_and_not_to_probabilities():
    # The highest of logit + Gumbel noise is a sample of softmax(logits); of probability + noise it is nearly uniform.
    share = np.array([0.6, 0.3, 0.1], np.float32)
    table = random_table(24, 64, 3)
    table = table._replace(logits=np.tile(np.log(share), (64, 1)))
    found = plan(table, np.zeros(4000), Gumbel(), simulations=1, explore=True)
    np.testing.assert_allclose(found.visits.mean(0), share, atol=0.03)


def test_dirichlet_noise_mixes_into_legal_actions_only():
    table = random_table(12, 4000, 3, illegal=0.4)
    table = table._replace(logits=np.zeros_like(table.logits))
    rule = Puct(dirichlet_fraction=1.0, dirichlet_alpha=0.5)
    found = plan(table, np.arange(4000), rule, simulations=20, explore=True, temperature=1.0)
    assert (found.visits[~table.legal] == 0).all()
    free = table.legal.all(-1)
    np.testing.assert_allclose(found.policy[free].mean(0), 1 / 3, atol=0.05)
    # Pure Dirichlet(0.5) noise: the largest prior is near 1 as often as not.
    assert 0.3 < (found.policy[free].max(-1) > 0.7).mean() < 0.8


def test_dirichlet_noise_is_made_of_samples_of_gamma_distributions():
    # Side by side, as the numbers of legal moves differ between roots; 7 columns fill no group of eight.
    alphas = np.array([1e-3, 0.03, 0.3, 1.0, 2.5, 20.0, 300.0], np.float32)
    samples = np.asarray(log_gamma(KEY, jnp.tile(alphas, (100_000, 1))), np.float64)
    for alpha, column in zip(alphas, samples.T, strict=True):
        assert stats.kstest(column, stats.loggamma(alpha).cdf).pvalue > 1e-3, alpha
    extreme = jnp.array([0.0, 1e-38, 1e20, np.inf], jnp.float32)
    assert np.isfinite(log_gamma(KEY, extreme)).all()
    ranks = np.corrcoef(stats.rankdata(samples, axis=0).T) - np.eye(7)
    assert np.abs(ranks).max() < 0.015  # a proposal that is refused changes nothing for its neighbours


def test_the_papers_noise_is_a_quarter_of_dirichlet_10_over_the_number_of_legal_moves():
    table = random_table(15, 2000, 5, illegal=0.4)
    roots = np.flatnonzero(table.legal.sum(-1) == 4)
    for default, told in ((Puct(), Puct(dirichlet_alpha=2.5)), (Puct(), Puct(dirichlet_fraction=0.25))):
        one, two = (plan(table, roots, rule, simulations=8, explore=True) for rule in (default, told))
        np.testing.assert_array_equal(one.visits, two.visits)
    other = plan(table, roots, Puct(dirichlet_alpha=0.3), simulations=8, explore=True)
    assert (plan(table, roots, Puct(), simulations=8, explore=True).visits != other.visits).any()


def test_action_is_sampled_from_visits_to_the_power_of_one_over_temperature():
    table = random_table(13, 4000, 3, ends=1.0)
    table = table._replace(reward=np.zeros_like(table.reward), value=np.zeros_like(table.value))
    table = table._replace(logits=np.log(np.array([[0.6, 0.3, 0.1]] * 4000, np.float32)))
    rule = Puct(dirichlet_fraction=0.0, dirichlet_alpha=0.5)
    for temperature in (1.0, 0.5):
        found = plan(table, np.zeros(4000), rule, 20, explore=True, temperature=temperature)
        wanted = found.visits[0] ** (1 / temperature)
        share = np.bincount(found.action, minlength=3) / 4000
        np.testing.assert_allclose(share, wanted / wanted.sum(), atol=0.03)
    for temperature in (0.0, 1e-4):
        found = plan(table, np.zeros(4000), rule, 20, explore=True, temperature=temperature)
        assert (found.action == found.visits[0].argmax()).all()


def test_gumbel_considers_no_more_actions_than_are_legal_or_asked_for():
    table = random_table(14, 64, 10, illegal=0.5)
    found = plan(table, np.arange(20), Gumbel(max_considered=4), simulations=60, explore=True)
    assert ((found.visits > 0).sum(-1) == np.minimum(4, table.legal[:20].sum(-1))).all()


def one_step(reward, value, logits=None, discount=1.0, players=1):
    """One decision: action a pays reward[a] and leads to a state worth value[a]."""
    actions = len(reward)
    states = actions + 1
    reward, value = (np.asarray(x, np.float32).reshape(actions, -1) for x in (reward, value))
    return Table(
        np.tile(np.arange(1, states, dtype=np.int32), (states, 1)),
        np.tile(reward, (states, 1, 1)),
        np.full((states, actions), discount, np.float32),
        np.zeros(states, np.int32),
        np.ones((states, actions), bool),
        np.concatenate([np.zeros((1, value.shape[1]), np.float32), value]),
        np.zeros((states, actions), np.float32) if logits is None else np.tile(np.float32(logits), (states, 1)),
    )


@both_rules
def test_a_childs_score_uses_its_reward_and_its_discounted_value(rule):
    table = one_step(reward=[1.0, 0.0, 0.25], value=[0.0, 0.5, 2.0], discount=0.5)
    found = plan(table, [0], rule, simulations=40, max_depth=1)
    np.testing.assert_allclose(found.q[0], [1.0, 0.25, 1.25])
    assert found.action[0] == 2


def test_the_interval_of_values_spans_reward_and_discounted_value():
    table = one_step(reward=[1.0, 3.0, -2.0], value=[0.5, -4.0, 0.0], discount=0.5)
    found = plan(table, [0], Puct(), simulations=40, max_depth=1)
    np.testing.assert_allclose(found.tree.interval[0, 0], [-2.0, 1.25])


def test_an_unvisited_action_counts_with_the_value_of_the_player_to_move():
    table = one_step(reward=[[0.0, 4.0]] * 3, value=[[0.0, 0.0]] * 3)
    table.value[0], table.to_play[:] = (5.0, -3.0), 1
    found = plan(table, [0], Gumbel(), simulations=1)
    # Player 1 has -3 from the network and 4 from one visit.
    np.testing.assert_allclose(found.q[0], [4.0, 0.5, 0.5])


def test_q_is_in_the_view_of_the_player_who_chooses_the_action():
    table = random_table(26, 64, 3, players=3)
    found = plan(table, np.arange(4), Puct())
    to_play = records(found.tree)["to_play"]
    below = [(to_play[root, node], c) for root, node in np.ndindex(4, 31) for c in children(found.tree, root, node)]
    assert len(below) == 4 * 30
    for player, child in below:
        assert child.q == pytest.approx(child.reward[player] + child.discount * child.value[player], abs=1e-5)


@both_rules
def test_renaming_the_players_changes_nothing_else(rule):
    table = random_table(27, 64, 4, players=2)
    other = table._replace(
        reward=table.reward[..., ::-1], value=table.value[:, ::-1], to_play=(1 - table.to_play).astype(np.int32)
    )
    first, second = plan(table, np.arange(16), rule), plan(other, np.arange(16), rule)
    for field in ("parent", "action", "visits", "q"):
        np.testing.assert_array_equal(records(first.tree)[field], records(second.tree)[field])
    np.testing.assert_array_equal(first.value, second.value[:, ::-1])
    np.testing.assert_array_equal(first.q, second.q)


def test_root_value_is_the_visit_mean_with_the_network_value_included():
    table = one_step(reward=[1.0, 3.0, 2.0], value=[0.0] * 3)
    table = table._replace(value=table.value + np.array([[8.0], [0.0], [0.0], [0.0]], np.float32))
    found = plan(table, [0], Gumbel(), simulations=40, max_depth=1)
    np.testing.assert_allclose(found.value[0, 0], (8 + found.visits[0] @ [1, 3, 2]) / 41, rtol=1e-6)


@pytest.mark.parametrize(
    ("rule", "tolerance"),
    [(Puct(), 0.04), (Gumbel(), 1e-5), (Gumbel(max_considered=2), 1e-5)],
    ids=["puct", "gumbel", "gumbel-with-an-unvisited-action"],
)
def test_one_distinct_value_lets_the_prior_decide(rule, tolerance):
    table = one_step(reward=[200.0] * 3, value=[0.0] * 3, logits=[0.0, 2.0, 1.0])
    found = plan(table, [0], rule, simulations=40, max_depth=1)
    share = np.exp([0.0, 2.0, 1.0]) / np.exp([0.0, 2.0, 1.0]).sum()
    np.testing.assert_allclose(found.policy[0], share, atol=tolerance)


def test_a_span_floor_keeps_small_differences_small():
    table = one_step(reward=[0.0, 1e-3, 0.0], value=[0.0] * 3)
    sharp = plan(table, [0], Gumbel(), simulations=40, max_depth=1).policy[0]
    flat = plan(table, [0], Gumbel(span_floor=1.0), simulations=40, max_depth=1).policy[0]
    assert sharp[1] > 0.9 and abs(flat[1] - 1 / 3) < 0.01


def test_known_bounds_seed_the_interval():
    table = one_step(reward=[0.5, 0.6, 0.5], value=[0.0] * 3)
    found = plan(table, [0], Gumbel(bounds=(-1.0, 1.0)), simulations=40, max_depth=1)
    sigma = (50 + found.visits.max()) * 0.1 * (0.6 - 0.5) / 2
    np.testing.assert_allclose(found.policy[0, 1], 1 / (1 + 2 * np.exp(-sigma)), rtol=1e-4)


def test_a_terminal_state_is_absorbing():
    # Past the end the model would promise riches; the discount of 0 must hide them.
    table = one_step(reward=[1.0, 0.5, 0.2], value=[1e6] * 3, discount=0.0)
    for rule in (Gumbel(), Puct()):
        found = plan(table, [0], rule, simulations=40)
        np.testing.assert_allclose(found.q[0], [1.0, 0.5, 0.2])
        assert all(not children(found.tree, 0, child.node) for child in children(found.tree))
        assert found.action[0] == 0


@all_rules
def test_a_prediction_of_nan_or_of_nobodys_turn_corrupts_nothing(rule):
    table = random_table(15, 64, 4, players=2)
    table.legal[:8, 0] = True
    table.logits[8:20] = np.nan
    table.to_play[15:25] = -4
    table.legal[30:40] = False
    found = plan(table, np.arange(8), rule)
    np.testing.assert_array_equal(found.visits[:3].sum(-1), 30)


@both_rules
def test_search_works_in_scan(rule):
    table = random_table(16, 64, 4)

    @jax.jit
    def play(key):
        def move(state, key):
            found = search(table, table.roots(state), key, simulations=30, rule=rule, explore=True)
            return jnp.asarray(table.following)[state, found.action], (found.action, found.visits)

        return jax.lax.scan(move, jnp.arange(8, dtype=jnp.int32), jax.random.split(key, 5))

    _, (actions, visits) = play(KEY)
    state = np.arange(8)
    for step, key in enumerate(jax.random.split(KEY, 5)):
        alone = plan(table, state, rule, key=key, explore=True)
        np.testing.assert_array_equal(visits[step], alone.visits)
        np.testing.assert_array_equal(actions[step], alone.action)
        state = table.following[state, alone.action]


def test_numbers_of_a_rule_and_exploration_compile_nothing_again():
    table = random_table(17, 40, 3)
    traces = 0

    def count(rule, explore, temperature, key):
        nonlocal traces
        traces += 1
        root = table.roots(jnp.arange(4, dtype=jnp.int32))
        return search(table, root, key, simulations=5, rule=rule, explore=explore, temperature=temperature).visits

    run = jax.jit(count)
    for c, explore in ((0.1, True), (0.5, False), (1.0, True)):
        run(Gumbel(c_scale=c, span_floor=c), explore, c, KEY)
    assert traces == 1
    assert (run(Gumbel(c_scale=0.1), False, 1.0, KEY) == plan(table, np.arange(4), Gumbel(), 5).visits).all()


def test_a_root_without_a_legal_action_is_an_error_and_never_nan():
    table = random_table(18, 10, 3)
    table.legal[1] = False
    for path in ("xla", "host"):
        with pytest.raises(SearchError, match=r"root\.legal: root 1"):
            plan(table, np.arange(3), Gumbel(), path=path)
    for rule in (Gumbel(), Puct()):
        run = jax.jit(lambda s, r=rule: search(table, table.roots(s), KEY, simulations=6, rule=r, explore=True)[:5])
        found = jax.tree.map(np.asarray, run(jnp.arange(3, dtype=jnp.int32)))
        assert all(np.isfinite(x).all() for x in found)
        assert (found[1][1] == 0).all() and (found[3].sum(-1) == [6, 0, 6]).all()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(simulations=0), "simulations: 0"),
        (dict(simulations=2.5), "simulations: 2.5"),
        (dict(simulations=np.int64(0)), r"simulations: np.int64\(0\)"),
        (dict(path="gpu"), "path: 'gpu'"),
        (dict(max_depth=0), "max_depth: 0"),
        (dict(temperature=-1.0), "temperature: -1.0"),
        (dict(rule="gumbel"), "rule: 'gumbel'"),
        (dict(key=jax.random.split(KEY, 3)), "key: 3 keys for 1 roots"),
        (dict(explore=np.ones(3)), r"explore: shape \(3,\)"),
    ],
)
def test_a_bad_argument_is_named(bad, message):
    table = random_table(19, 10, 3)
    with pytest.raises(SearchError, match=message):
        plan(table, [0], bad.pop("rule", Gumbel()), **bad)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gumbel(normalise="max"), "Gumbel.normalise: 'max'"),
        (lambda: Gumbel(max_considered=0), "Gumbel.max_considered: 0"),
        (lambda: Gumbel(span_floor=-1.0), "Gumbel.span_floor: -1.0"),
        (lambda: Puct(dirichlet_fraction=2.0), "Puct.dirichlet_fraction: 2.0"),
        (lambda: Puct(normalise="node", bounds=(0.0, 1.0)), "Puct.bounds"),
        (lambda: Puct(bounds=(1.0, 0.0)), "Puct.bounds"),
    ],
)
def test_a_bad_setting_of_a_rule_is_named(make, message):
    with pytest.raises(SearchError, match=message):
        make()


def test_a_root_of_wrong_shape_is_named():
    table = random_table(20, 10, 3)
    root = table.roots(np.arange(2))
    for field, value in (("value", jnp.zeros(2)), ("to_play", jnp.zeros((2, 1))), ("legal", jnp.ones((2, 4)))):
        with pytest.raises(SearchError, match=rf"root\.{field}"):
            search(table, root._replace(**{field: value}), KEY, simulations=3)


class Answers:
    """A model of two states, three actions and one player, some of whose answers are replaced."""

    def __init__(self, **changes):
        self.changes = changes

    def root(self):
        return self.recurrent({"x": jnp.zeros((2, 4))}, jnp.zeros(2, jnp.int32), changes={})

    def recurrent(self, state, action, changes=None):
        count = len(action)
        answer = Prediction(
            jnp.ones((count, 1)),
            jnp.ones(count),
            jnp.zeros(count, jnp.int32),
            jnp.ones((count, 3), bool),
            jnp.zeros((count, 1)),
            jnp.zeros((count, 3)),
            state,
        )
        return answer._replace(**(self.changes if changes is None else changes))


@pytest.mark.parametrize("path", ["xla", "host"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(reward=jnp.ones(2)), r"recurrent.reward: shape \(2,\) is not \(2, 1\)"),
        (dict(discount=1.0), r"recurrent.discount: shape \(\) is not \(2,\)"),
        (dict(legal=jnp.ones((2, 4), bool)), r"recurrent.legal: shape \(2, 4\)"),
        (dict(policy_logits=jnp.ones((2, 5)), legal=jnp.ones((2, 5))), r"recurrent.policy_logits: shape .* A = 3"),
        (dict(value=jnp.ones((2, 2)), reward=jnp.ones((2, 2))), r"recurrent.value: shape .* P = 1"),
        (dict(state={"x": jnp.zeros((2, 1))}), r"recurrent.state\['x'\]: shape \(2, 1\) of float32 is not \(2, 4\)"),
        (dict(state={"x": jnp.zeros((2, 4), jnp.int32)}), r"of int32 is not \(2, 4\) of float32, as the root has it"),
        (dict(state=jnp.zeros((2, 4))), r"recurrent.state: .* is not the root's"),
    ],
)
def test_an_answer_that_does_not_fit_its_root_is_named(changes, message, path):
    model = Answers(**changes)
    with pytest.raises(SearchError, match=message):
        search(model, model.root(), KEY, simulations=2, path=path)
    assert search(Answers(), model.root(), KEY, simulations=2, path=path).visits.sum() == 4


def test_the_tree_lists_children_and_the_principal_variation():
    table = random_table(21, 64, 4)
    found = plan(table, np.arange(8), Puct())
    below = children(found.tree)
    assert sum(child.visits for child in below) == 30
    assert [child.visits for child in below] == sorted(found.visits[0][found.visits[0] > 0], reverse=True)
    for child in below:
        assert child.q == pytest.approx(child.reward[0] + child.discount * child.value[0], abs=1e-5)
    assert principal_variation(found.tree)[0] == below[0].action
    with pytest.raises(SearchError, match="outside the tree"):
        children(found.tree, 0, 99)
