"""The composed loss: its scales measured from gradients, its masks from what changes it."""

from __future__ import annotations

import functools
from dataclasses import replace
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzen.config import LearnConfig, NetworkConfig, ReplayConfig
from muzen.devices import everywhere, here, mesh_of
from muzen.learner import init_learner, loss, make_learn, trainable, unroll, value_target
from muzen.maths.supports import CategoricalEncoding
from muzen.networks import NetworkModel, make_network
from muzen.optimizer import make_optimizer
from muzen.replay import Replay, Rows
from muzen.types import EnvSpec

SPEC = EnvSpec("test", (3,), "float32", 2)
CONFIG = LearnConfig(unroll_steps=3, n_step=2, discount=0.9, td_lambda=1.0, bootstrap="search", batch_size=16)


def make_model(seed: int = 0, players: int = 1) -> NetworkModel:
    encoding = CategoricalEncoding(limit=20.0, bins=11)
    network = make_network(NetworkConfig(width=8), (3,), 2, 11, 11, players, jax.random.key(seed))
    # Heads start at 0, where every gradient behind them is 0 too.
    random = np.random.default_rng(seed)
    network = jax.tree.map(
        lambda x: x + 0.3 * random.normal(size=x.shape).astype(np.float32) if eqx.is_inexact_array(x) else x, network
    )
    return NetworkModel(network, encoding, encoding, gamma=0.9, num_actions=2, players=players)


def filled_replay(*, terminated: bool, length: int = 4, episodes: int = 8) -> Replay:
    random = np.random.default_rng(1)
    replay = Replay(SPEC, ReplayConfig(max_steps=1000), lanes=1, seed=0)
    for episode in range(episodes):
        for t in range(length + 1):
            end = t == length - 1
            policy = random.dirichlet([1, 1], 1).astype(np.float32)
            replay.add(
                np.array([0]),
                Rows(
                    random.normal(size=(1, 3)).astype(np.float32),
                    random.integers(0, 2, 1),
                    random.normal(size=(1, 1)).astype(np.float32),
                    np.array([end and terminated]),
                    np.array([end and not terminated]),
                    np.array([t == length]),
                    np.array([0]),
                    np.ones((1, 2), bool),
                    policy,
                    random.normal(size=(1, 1)).astype(np.float32),
                    np.array([episode]),
                ),
            )
    return replay


def sample(replay: Replay, config: LearnConfig = CONFIG, count: int = 1):
    batch = replay.sample(
        count,
        config.batch_size,
        unroll_steps=config.unroll_steps,
        n_step=config.n_step,
        discount=config.discount,
        td_lambda=config.td_lambda,
        bootstrap_observation=True,
    )
    return batch


def one(batch):
    return jax.tree.map(lambda x: x[0], batch)


class Stride(eqx.Module):
    """A model whose state is its observation, and which every step of the dynamics moves by `stride`."""

    stride: jax.Array

    @property
    def network(self):
        return self

    def represent(self, observation):
        return observation

    def dynamics(self, state, action):
        return state + self.stride


def test_the_gradient_into_the_dynamics_is_halved_each_step_and_the_heads_is_not():
    action = jnp.zeros((1, 4), jnp.int32)

    def state_sum(observation, stride, k):
        return unroll(Stride(stride), observation, action)[:, k].sum()

    for k in range(5):
        observation, stride = jax.grad(state_sum, argnums=(0, 1))(jnp.ones((1, 3)), jnp.zeros(3), k)
        np.testing.assert_allclose(observation, 0.5**k)
        # The heads of step k reach the last dynamics call whole, the one before it by half, and so on.
        np.testing.assert_allclose(stride, sum(0.5**calls for calls in range(k)))


compiled_loss = eqx.filter_jit(loss)


def terms(model, batch, config=CONFIG):
    return {k: float(v) for k, v in compiled_loss(model, model, batch, config)[1].items() if k.endswith("_loss")}


@pytest.mark.parametrize(
    ("field", "mask", "term"),
    [
        ("policy_target", "policy_mask", "policy_loss"),
        ("partial_return", "value_mask", "value_loss"),
        ("reward", "step_mask", "reward_loss"),
        ("continues", "step_mask", "discount_loss"),
    ],
)
def test_a_masked_target_changes_nothing_and_a_real_one_does(field, mask, term):
    model, batch = make_model(), one(sample(filled_replay(terminated=False)))
    on = np.asarray(getattr(batch, mask))
    assert on.any() and not on.all()
    target = np.asarray(getattr(batch, field))
    where = on.reshape(*on.shape, *[1] * (target.ndim - on.ndim))
    changed = 1.0 - target
    before = terms(model, batch)[term]
    masked = terms(model, batch._replace(**{field: np.where(where, target, changed)}))[term]
    real = terms(model, batch._replace(**{field: np.where(where, changed, target)}))[term]
    assert masked == pytest.approx(before, rel=1e-6)
    assert real != pytest.approx(before, rel=1e-3)


def test_the_loss_is_the_weighted_sum_of_its_terms():
    model, batch = make_model(), one(sample(filled_replay(terminated=True)))
    total, _ = compiled_loss(model, model, batch, CONFIG)
    weighted = {name: getattr(CONFIG, name.replace("_loss", "_weight")) * x for name, x in terms(model, batch).items()}
    # One player: turns need no learning, and every action is legal; an MLP reconstructs nothing.
    off = ("legal_loss", "to_play_loss", "reconstruction_loss")
    assert all(x for name, x in weighted.items() if name not in off)
    assert float(total) == pytest.approx(sum(weighted.values()), rel=1e-5)


def cross(target, logits):
    return -(target * jax.nn.log_softmax(logits)).sum(-1)


def reward_loss(model, batch, own):
    """Of [B, K] rewards in the network's view, each predicted by the state after its action."""
    states = unroll(model, batch.observation[:, 0], batch.action)
    losses = [
        cross(model.reward_encoding.encode(own[:, k]), model.reward_logits(states[:, k + 1])[:, 0]) for k in (0, 1, 2)
    ]
    return float(((np.stack(losses, 1) * batch.step_mask).sum(1) / batch.step_mask.sum(1)).mean())


def test_the_reward_of_action_k_is_what_the_state_after_it_predicts():
    model, batch = make_model(), one(sample(filled_replay(terminated=True)))
    assert terms(model, batch)["reward_loss"] == pytest.approx(
        reward_loss(model, batch, batch.reward[..., 0]), rel=1e-4
    )


def two_player_batch():
    """Windows of a zero-sum game, in which anyone may move at any step."""
    batch, random = one(sample(filled_replay(terminated=True))), np.random.default_rng(3)
    both = np.array([1.0, -1.0], np.float32)
    return batch._replace(
        to_play=random.integers(0, 2, batch.to_play.shape).astype(np.int32),
        reward=batch.reward * both,
        partial_return=batch.partial_return * both,
        bootstrap_discount=np.zeros_like(batch.bootstrap_discount),
        bootstrap_value=batch.bootstrap_value * both,
    )


def test_the_value_target_of_step_k_is_in_the_view_of_who_moves_at_step_k():
    model, batch = make_model(players=2), two_player_batch()
    states = unroll(model, batch.observation[:, 0], batch.action)
    z = np.where(batch.to_play == 0, batch.partial_return[..., 0], batch.partial_return[..., 1])
    losses = [cross(model.value_encoding.encode(z[:, k]), model.value_logits(states[:, k])[:, 0]) for k in range(4)]
    assert batch.value_mask.all()
    expected = float((losses[0] + np.mean(losses[1:], 0)).mean())
    assert terms(model, batch)["value_loss"] == pytest.approx(expected, rel=1e-4)


def test_the_reward_of_action_k_is_in_the_view_of_who_took_it():
    model, batch = make_model(players=2), two_player_batch()
    own = np.where(batch.to_play[:, :-1] == 0, batch.reward[..., 0], batch.reward[..., 1])
    assert terms(model, batch)["reward_loss"] == pytest.approx(reward_loss(model, batch, own), rel=1e-4)


def test_the_reported_entropy_is_finite_where_a_target_is_exactly_zero():
    model, batch = make_model(), one(sample(filled_replay(terminated=True)))
    batch = batch._replace(policy_target=np.eye(2, dtype=np.float32)[batch.policy_target.argmax(-1)])
    facts = compiled_loss(model, model, batch, CONFIG)[1]
    assert float(facts["target_entropy"]) == pytest.approx(0.0, abs=1e-6)


def test_after_truncation_no_unrolled_loss_is_trained_and_after_termination_value_and_reward_are_zero():
    truncated, terminated = (one(sample(filled_replay(terminated=end))) for end in (False, True))
    past = ~np.asarray(truncated.policy_mask)
    assert past.any() and not np.asarray(truncated.value_mask)[past].any()
    past = ~np.asarray(terminated.policy_mask)
    assert past.any() and np.asarray(terminated.value_mask)[past].all()
    assert (np.asarray(terminated.value_target)[past] == 0).all()


def test_the_root_weighs_one_and_the_unrolled_steps_share_one_by_their_real_number():
    model, replay = make_model(), filled_replay(terminated=False)
    batch = one(sample(replay))
    losses = []
    for k in range(4):
        mask = np.zeros_like(batch.policy_mask)
        mask[:, k] = batch.policy_mask[:, k]
        losses.append(terms(model, batch._replace(policy_mask=mask))["policy_loss"])
    logits = [model.network.policy(s) for s in jnp.moveaxis(unroll(model, batch.observation[:, 0], batch.action), 1, 0)]
    real = np.maximum(batch.step_mask.sum(1), 1)
    for k in range(4):
        cross = -(batch.policy_target[:, k] * jax.nn.log_softmax(logits[k])).sum(-1) * batch.policy_mask[:, k]
        scale = 1.0 if k == 0 else 1.0 / real
        assert losses[k] == pytest.approx(float((cross * scale).mean()), rel=1e-4)


def test_a_sequence_weighs_as_its_importance_weight():
    model, batch = make_model(), one(sample(filled_replay(terminated=True)))
    half = terms(model, batch._replace(weight=np.full_like(batch.weight, 0.5)))
    for name, value in terms(model, batch).items():
        assert half[name] == pytest.approx(value / 2, rel=1e-5)


def test_the_value_target_bootstraps_from_the_network_that_the_settings_name():
    batch = one(sample(filled_replay(terminated=False)))
    target = make_model(5)
    search = value_target(batch, target, CONFIG)
    np.testing.assert_allclose(search, batch.value_target, rtol=1e-5)
    config = replace(CONFIG, bootstrap="target")
    flat = batch.bootstrap_observation.reshape(-1, 3)
    value = np.asarray(target.initial(flat).value).reshape(batch.partial_return.shape)
    expected = batch.partial_return + batch.bootstrap_discount[..., None] * value
    np.testing.assert_allclose(value_target(batch, target, config), expected, rtol=1e-4, atol=1e-5)


def test_a_target_networks_value_of_a_game_is_that_of_whoever_moves_in_the_bootstrap_row():
    random = np.random.default_rng(2)
    encoding = CategoricalEncoding(limit=20.0, bins=11)
    network = eqx.tree_at(
        lambda n: n.value_head.weight,
        make_network(NetworkConfig(width=8), (3,), 2, 11, 11, 2, jax.random.key(0)),
        jnp.asarray(random.normal(size=(8, 11)), jnp.float32),
    )
    game = NetworkModel(network, encoding, encoding, gamma=0.9, num_actions=2, players=2)
    batch = SimpleNamespace(
        bootstrap_observation=random.normal(size=(4, 3, 3)).astype(np.float32),
        bootstrap_to_play=random.integers(0, 2, (4, 3)),
        bootstrap_discount=np.ones((4, 3), np.float32),
        partial_return=np.zeros((4, 3, 2), np.float32),
    )
    own = np.asarray(encoding.decode(network.value(network.representation(batch.bootstrap_observation.reshape(12, 3)))))
    z = np.asarray(value_target(batch, game, LearnConfig(bootstrap="target"))).reshape(12, 2)
    assert np.abs(own).min() > 0.01
    for b, player in enumerate(batch.bootstrap_to_play.ravel()):
        np.testing.assert_allclose(z[b, [player, 1 - player]], [own[b], -own[b]], rtol=1e-5)


def test_the_value_target_bootstraps_from_the_search_value_unless_asked_otherwise():
    batch = one(sample(filled_replay(terminated=False)))
    np.testing.assert_allclose(value_target(batch, make_model(5), LearnConfig()), batch.value_target, rtol=1e-5)


def leaves(model):
    return [np.asarray(x) for x in jax.tree.leaves(eqx.filter(model.network, eqx.is_inexact_array))]


# One setting for all tests that take gradient steps: each other one is seconds of compiling.
STEPPED = replace(CONFIG, target_update=3, average_decay=0.9, warmup_updates=4, schedule="cosine")


@functools.cache
def stepping(optimizer="adam", total=100, mesh=None):
    """The state before the first gradient step, and what takes one."""
    config = replace(STEPPED, optimizer=optimizer)
    rule = make_optimizer(config)
    return init_learner(make_model(), rule), make_learn(config, rule, total, mesh)


def test_a_batch_divided_over_devices_moves_the_weights_and_reports_as_a_whole_one_does():
    mesh, batches = mesh_of(2), sample(filled_replay(terminated=True), STEPPED, count=3)
    # So that the halves of a batch differ, in what is averaged and in what is no average.
    batches = batches._replace(partial_return=batches.partial_return * np.linspace(0.1, 3, 16)[:, None, None])
    (begun, learn), (_, divided) = stepping(), stepping(mesh=mesh)
    whole, reports = learn(begun, batches)
    parts, of_parts = divided(everywhere(begun, mesh), batches)
    for name, a, b in zip(reports._fields, reports, of_parts, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6, err_msg=name)
    for a, b in zip(leaves(here(parts.average)), leaves(whole.average), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    for leaf in jax.tree.leaves(eqx.filter(parts, eqx.is_array)):
        first, second = (np.asarray(leaf.addressable_data(i)) for i in range(2))
        np.testing.assert_array_equal(first, second)  # the copies never drift apart


@pytest.mark.slow
def test_the_target_network_is_a_copy_from_every_nth_step_and_the_average_follows():
    (state, learn), replay = stepping(), filled_replay(terminated=True)
    copied = leaves(state.model)
    for update in range(1, 5):
        before = state
        state, _ = learn(state, sample(replay, STEPPED))
        if update == 3:
            copied = leaves(state.model)
        assert all(np.array_equal(a, b) for a, b in zip(leaves(state.target), copied, strict=True))
        d = min(0.9, update / (update + 10))
        for new, old, average in zip(leaves(state.model), leaves(before.average), leaves(state.average), strict=True):
            np.testing.assert_allclose(average, (1 - d) * new + d * old, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_one_call_of_many_steps_equals_as_many_calls():
    (begun, learn), batches = stepping(), sample(filled_replay(terminated=True), STEPPED, count=3)
    together, report = learn(begun, batches)
    apart = begun
    for i in range(3):
        apart, single = learn(apart, jax.tree.map(lambda x, i=i: x[i : i + 1], batches))
        assert float(single.loss[0]) == pytest.approx(float(report.loss[i]), rel=1e-4)
    for a, b in zip(leaves(together.model), leaves(apart.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_gradient_step_compiled_beforehand_is_the_same_to_the_bit_and_for_its_shapes_only():
    (begun, learn), batches = stepping(), sample(filled_replay(terminated=True), STEPPED, count=2)
    rule = make_optimizer(STEPPED)
    early = make_learn(STEPPED, rule, 100)
    early.compile(init_learner(make_model(), rule), sample(filled_replay(terminated=False), STEPPED, count=2))
    expected, _ = learn(begun, batches)
    ended, _ = early(begun, batches)
    for a, b in zip(leaves(ended.model), leaves(expected.model), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(TypeError, match="compiled"):
        early(begun, jax.tree.map(lambda x: x[:1], batches))


@pytest.mark.parametrize(
    "name",
    [
        "adam",
        pytest.param("muon", marks=pytest.mark.slow),
        pytest.param("sgd", marks=[pytest.mark.slow, pytest.mark.long]),
    ],
)
def test_each_gradient_step_is_as_long_as_the_schedule_says(name):
    batches, moved = sample(filled_replay(terminated=True), STEPPED), {}
    for updates, total in ((0, 12), (3, 12), (8, 12), (8, 1_000), (12, 12)):
        state, learn = stepping(name, total)
        begun = state._replace(updates=jnp.int32(updates))
        ended, _ = learn(begun, batches)
        moved[updates, total] = [b - a for a, b in zip(leaves(begun.model), leaves(ended.model), strict=True)]
    shares = {(0, 12): 0.25, (8, 12): 0.5, (8, 1_000): 0.99996, (12, 12): 0.0}
    for place, share in shares.items():
        for change, longest in zip(moved[place], moved[3, 12], strict=True):
            np.testing.assert_allclose(change, share * longest, rtol=1e-2, atol=1e-6)


def test_gradients_move_the_network_and_not_the_normaliser_or_the_supports():
    model = make_model()
    parameters, rest = eqx.partition(model, trainable(model))
    assert len(jax.tree.leaves(parameters)) == len(leaves(model))
    assert len(jax.tree.leaves(eqx.filter(rest, eqx.is_inexact_array))) == 7  # γ, mean, std, two limits, two scales


def test_all_three_models_see_observations_by_the_scale_that_a_step_is_given():
    (begun, learn), batches = stepping(), sample(filled_replay(terminated=True), STEPPED, count=1)
    shape = np.shape(begun.model.observation_mean) or batches.observation.shape[3:]
    begun = init_learner(
        eqx.tree_at(
            lambda m: (m.observation_mean, m.observation_std), make_model(), (jnp.zeros(shape), jnp.ones(shape))
        ),
        make_optimizer(STEPPED),
    )
    scale = np.full(shape, 0.5, np.float32), np.full(shape, 2.0, np.float32)
    ended, report = learn(begun, batches, scale)
    for model in (ended.model, ended.target, ended.average):
        np.testing.assert_array_equal(model.observation_mean, scale[0])
        np.testing.assert_array_equal(model.observation_std, scale[1])
    unscaled, other = learn(begun, batches)
    np.testing.assert_array_equal(unscaled.model.observation_mean, 0.0)
    assert float(report.loss[0]) != float(other.loss[0])  # the step itself sees them so
