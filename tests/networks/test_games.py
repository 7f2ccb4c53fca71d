"""Games in the learned model: whose values, who moves next, what is legal."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzen.agent import Planner
from muzen.config import LearnConfig, NetworkConfig
from muzen.errors import ConfigError
from muzen.learner import loss
from muzen.maths.supports import CategoricalEncoding
from muzen.networks import NetworkModel, check_network, make_network
from muzen.replay.windows import Batch
from muzen.search import Gumbel

KEY = jax.random.key(0)
ENCODING = CategoricalEncoding(limit=1.0, bins=11, transform=False)
SHAPE, ACTIONS = (4,), 3


def make_model(players=2, zero_sum=True, *, legal=False, to_play=False, noise=0.3) -> NetworkModel:
    network = make_network(
        NetworkConfig(width=8),
        SHAPE,
        ACTIONS,
        11,
        11,
        players,
        KEY,
        zero_sum=zero_sum,
        learn_legal=legal,
        learn_to_play=to_play,
    )
    random = np.random.default_rng(0)
    network = jax.tree.map(
        lambda x: x + noise * random.normal(size=x.shape).astype(np.float32) if eqx.is_inexact_array(x) else x, network
    )
    model = NetworkModel(
        network, ENCODING, ENCODING, gamma=1.0, num_actions=ACTIONS, players=players, zero_sum=zero_sum
    )
    check_network(model, SHAPE)
    return model


OBSERVATION = np.random.default_rng(1).normal(size=(5, *SHAPE)).astype(np.float32)
TO_PLAY = np.array([0, 1, 0, 1, 1])


def test_two_players_who_do_not_share_a_sum_have_a_value_each():
    model = make_model(zero_sum=False)
    said = model.initial(OBSERVATION, TO_PLAY)
    assert said.value.shape == (5, 2)
    assert np.abs(np.asarray(said.value).sum(1)).min() > 1e-3  # no (v, -v)
    other = model.initial(OBSERVATION, 1 - TO_PLAY)
    np.testing.assert_array_equal(said.value, other.value)
    assert model.own_view(jnp.ones((5, 2)), TO_PLAY).shape == (5, 2)


def test_a_zero_sum_value_is_written_for_whoever_moves():
    model = make_model()
    said = np.asarray(model.initial(OBSERVATION, TO_PLAY).value)
    own = np.take_along_axis(said, TO_PLAY[:, None], 1)
    np.testing.assert_allclose(said.sum(1), 0, atol=1e-6)
    flipped = np.asarray(model.initial(OBSERVATION, 1 - TO_PLAY).value)
    np.testing.assert_allclose(np.take_along_axis(flipped, 1 - TO_PLAY[:, None], 1), own)


@pytest.mark.parametrize("zero_sum", [True, False])
def test_a_search_starts_from_the_values_of_who_really_moves(zero_sum):
    model = make_model(zero_sum=zero_sum)
    planner = Planner(Gumbel(), 1)
    found = planner.search(model, OBSERVATION, np.ones((5, ACTIONS), bool), TO_PLAY, KEY)
    root = model.initial(OBSERVATION, TO_PLAY)
    np.testing.assert_allclose(np.asarray(found.tree.values)[:, 0, :, 2], root.value, atol=1e-5)
    below = model.recurrent(root.state, np.asarray(found.action))
    np.testing.assert_allclose(np.asarray(found.tree.values)[:, 1, :, 2], below.value, atol=1e-5)


def test_who_moves_next_is_by_turns_or_learned():
    turns, learned = make_model(3), make_model(3, to_play=True)
    assert not turns.learns_to_play and learned.learns_to_play
    action = jnp.zeros(5, jnp.int32)
    player = np.array([0, 1, 2, 0, 1])
    root = turns.initial(OBSERVATION, player)
    np.testing.assert_array_equal(turns.recurrent(root.state, action).to_play, (player + 1) % 3)
    root = learned.initial(OBSERVATION, player)
    said = learned.recurrent(root.state, action)
    state = learned.network.dynamics(root.state.network, action)
    np.testing.assert_array_equal(said.to_play, learned.network.to_play(state).argmax(-1))


def test_what_is_legal_below_the_root_is_learned_or_everything():
    assert np.asarray(make_model().initial(OBSERVATION, TO_PLAY).legal).all()
    model = make_model(legal=True, noise=3.0)
    said = np.asarray(model.initial(OBSERVATION, TO_PLAY).legal)
    logits = np.asarray(model.network.legal(model.represent(OBSERVATION)))
    some = (logits > 0).any(1)
    np.testing.assert_array_equal(said[some], logits[some] > 0)
    assert said[~some].all() and not said.all()


def test_before_anything_is_learned_every_action_may_be_searched():
    assert np.asarray(make_model(legal=True, noise=0.0).initial(OBSERVATION, TO_PLAY).legal).all()


def test_heads_that_were_not_asked_for_are_not_there():
    model = make_model()
    assert model.network.legal_head is None and model.network.to_play_head is None
    assert not model.learns_legal and not model.learns_to_play
    one = make_model(1, to_play=True)
    assert not one.learns_to_play and one.network.to_play_head is None


def test_a_network_of_ones_own_must_give_every_player_a_value_where_sums_differ():
    network = make_model().network
    model = NetworkModel(network, ENCODING, ENCODING, gamma=1.0, num_actions=ACTIONS, players=2, zero_sum=False)
    with pytest.raises(ConfigError, match=r"network\.value: shape \(3, 11\).*must be \(3, 2, 11\)"):
        check_network(model, SHAPE)


def make_batch(players: int, *, real: int, over: bool, unroll: int = 3, size: int = 4) -> Batch:
    """Windows whose first `real` rows come before the end of the episode, at a termination or a truncation."""
    random = np.random.default_rng(2)
    rows = np.broadcast_to(np.arange(unroll + 1), (size, unroll + 1))
    before = rows < real
    states, steps = (size, unroll + 1), (size, unroll)
    return Batch(
        observation=random.normal(size=(*states, *SHAPE)).astype(np.float32),
        action=random.integers(0, ACTIONS, steps).astype(np.int32),
        reward=np.zeros((*steps, players), np.float32),
        continues=np.ones(steps, np.float32),
        step_mask=before[:, :-1] | over,
        policy_mask=before,
        value_mask=before | over,
        observation_mask=rows <= real,
        policy_target=random.dirichlet(np.ones(ACTIONS), states).astype(np.float32) * before[..., None],
        partial_return=np.zeros((*states, players), np.float32),
        bootstrap_discount=np.zeros(states, np.float32),
        bootstrap_value=np.zeros((*states, players), np.float32),
        bootstrap_mask=np.ones(states, bool),
        bootstrap_to_play=np.zeros(states, np.int32),
        bootstrap_observation=None,
        to_play=random.integers(0, players, states).astype(np.int32),
        legal=random.random((*states, ACTIONS)) < 0.5,
        weight=np.ones(size, np.float32),
        probability=np.ones(size),
        index=np.arange(size),
        age=np.zeros(size, np.int64),
    )


def terms(model, batch):
    return {name: float(x) for name, x in loss(model, model, batch, LearnConfig())[1].items() if name.endswith("_loss")}


@pytest.mark.parametrize("over", [True, False])
@pytest.mark.parametrize(("field", "term"), [("legal", "legal_loss"), ("to_play", "to_play_loss")])
def test_legality_and_turns_are_trained_up_to_the_end_and_not_past_it(field, term, over):
    # Three players: what `to_play` says of values does not depend on it.
    model = make_model(3, legal=True, to_play=True)
    batch = make_batch(3, real=2, over=over)
    target = np.asarray(getattr(batch, field))
    changed = ~target if field == "legal" else (target + 1) % 3
    before = terms(model, batch)[term]
    for k in range(4):
        here = target.copy()
        here[:, k] = changed[:, k]
        after = terms(model, batch._replace(**{field: here}))[term]
        assert (abs(after - before) > 1e-3) == (k < 2), k


def test_legality_and_turns_weigh_as_the_other_losses_do():
    model, batch = make_model(3, legal=True, to_play=True), make_batch(3, real=4, over=False)
    states = model.represent(batch.observation[:, 0])
    logits = np.asarray(model.network.legal(states))
    root = np.logaddexp(0, logits) - batch.legal[:, 0] * logits
    only_root = batch._replace(policy_mask=batch.policy_mask & (np.arange(4) == 0))
    assert terms(model, only_root)["legal_loss"] == pytest.approx(root.mean(), rel=1e-5)


def test_gradients_reach_the_heads_and_the_states_behind_them():
    model, batch = make_model(3, legal=True, to_play=True), make_batch(3, real=4, over=False)
    config = LearnConfig(
        value_weight=0, reward_weight=0, policy_weight=0, discount_weight=0, consistency_weight=0, legal_weight=1
    )
    gradient = eqx.filter_jit(eqx.filter_grad(lambda m: loss(m, m, batch, config)[0]))(model).network
    for part in (gradient.legal_head, gradient.to_play_head, gradient.entry.linear, gradient.dynamics_blocks[0].out):
        assert np.abs(np.asarray(part.weight)).max() > 0
    assert np.abs(np.asarray(gradient.value_head.weight)).max() == 0


def test_one_player_has_no_loss_of_turns_or_legality():
    model = make_model(1)
    found = terms(model, make_batch(1, real=2, over=True))
    assert found["legal_loss"] == 0 and found["to_play_loss"] == 0
