"""The convolutional network: its contract, how actions enter, and that a board's symmetry is its own."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzen.config import LearnConfig, NetworkConfig, override
from muzen.envs import spec_of
from muzen.errors import ConfigError
from muzen.experiment.parts import make_model
from muzen.learner import _transition_losses, unroll
from muzen.maths.supports import CategoricalEncoding
from muzen.networks import Network, NetworkModel, ResNetwork, make_network
from muzen.networks.resnet import Convolution, _convolve, _quarter_turns, action_planes, convolve
from muzen.presets import preset

KEY = jax.random.key(0)
CONFIG = NetworkConfig(kind="resnet", width=16, channels=8, blocks=1)


def network(actions=9, players=2, shape=(5, 3, 3), config=CONFIG, **options) -> ResNetwork:
    made = make_network(config, shape, actions, 11, 5, players, KEY, **options)
    assert isinstance(made, ResNetwork)
    return made


@pytest.mark.parametrize(
    ("players", "zero_sum", "per_player"), [(1, True, ()), (2, True, ()), (2, False, (2,)), (3, True, (3,))]
)
def test_shapes(players, zero_sum, per_player):
    net = network(players=players, zero_sum=zero_sum, learn_legal=True, learn_to_play=players > 1)
    assert isinstance(net, Network)
    state = net.representation(jnp.ones((6, 5, 3, 3)))
    following = net.dynamics(state, jnp.arange(6))
    assert state.shape == following.shape == (6, 3, 3, 8)
    assert net.policy(state).shape == net.legal(state).shape == (6, 9)
    assert net.value(state).shape == (6, *per_player, 11)
    assert net.reward(state).shape == (6, *per_player, 5)
    assert net.continues(state).shape == (6,)
    assert net.predict(net.project(state)).shape == (6, 16)
    if players > 1:
        assert net.to_play(state).shape == (6, players)


def test_what_a_state_stands_for_is_said_only_where_it_is_asked_for():
    assert network().reconstruct is None
    net = network(reconstruct=True)
    assert net.reconstruct is not None
    said = net.reconstruct(net.representation(jnp.ones((6, 5, 3, 3))))
    assert said.shape == (6, 5, 3, 3)
    # Other weights are those of a network that is not asked: a run without it is the same to the bit.
    plain = network()
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(eqx.tree_at(lambda n: n.decoder, net, None)), strict=True):
        np.testing.assert_array_equal(a, b)


def plain_network(spec):
    return make_network(NetworkConfig(kind="mlp"), spec.observation_shape, spec.num_actions, 23, 23, 2, KEY)


def test_a_reconstruction_costs_the_sum_over_planes_and_the_mean_over_cells():
    planes, height, width, size, steps = 2, 3, 5, 4, 2
    net = network(shape=(planes, height, width), actions=15, reconstruct=True)
    encoding = CategoricalEncoding(limit=1.0, bins=5)
    model = NetworkModel(net, CategoricalEncoding(limit=1.0, bins=11), encoding, gamma=1.0, num_actions=15, players=2)
    rng = np.random.default_rng(0)
    observation = rng.uniform(-0.5, 1.5, (size, steps + 1, planes, height, width)).astype(np.float32)
    mask = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]], np.float32)
    batch = SimpleNamespace(
        action=jnp.zeros((size, steps), jnp.int32),
        observation=observation,
        observation_mask=mask,
        step_mask=jnp.ones((size, steps)),
        reward=jnp.zeros((size, steps, 2)),
        continues=jnp.ones((size, steps)),
        to_play=jnp.zeros((size, steps + 1), jnp.int32),
    )
    states = unroll(model, batch.observation[:, 0], batch.action)
    config = LearnConfig(reconstruction_weight=1.0, consistency_weight=0.0)
    found = _transition_losses(model, states, batch, config)["reconstruction"]
    assert net.reconstruct is not None
    for b in range(size):
        for k in range(steps):
            said = 1 / (1 + np.exp(-np.asarray(net.reconstruct(states[b, k + 1][None]), np.float64)[0]))
            seen = np.clip(observation[b, k + 1], 0, 1)
            each = -(seen * np.log(said) + (1 - seen) * np.log(1 - said))
            assert found[b, k] == pytest.approx(mask[b, k + 1] * each.sum() / (height * width), rel=1e-4)


def test_only_a_network_that_can_reconstruct_is_asked_to():
    pytest.importorskip("pyspiel")
    spec = spec_of("openspiel:tic_tac_toe")
    config = override(preset(spec.id, spec), {"learn.reconstruction_weight": 1.0})
    assert config.network.kind == "mlp"
    with pytest.raises(ConfigError, match=r"learn\.reconstruction_weight: 1.*network\.kind resnet"):
        make_model(config, spec, None, None, None)
    with pytest.raises(ConfigError, match="uint8"):
        pixels = dataclasses.replace(spec, observation_dtype="uint8")
        make_model(override(config, {"network.kind": "resnet"}), pixels, None, None, None)
    # A network of the user's own is not refused for what its settings did not ask of it.
    make_model(config, spec, plain_network(spec), None, None)
    boards = override(config, {"network.kind": "resnet"})
    assert make_model(boards, spec, None, None, None).learns_reconstruction
    # With the rules there is no state to say it of.
    assert not make_model(override(boards, {"search.model": "rules"}), spec, None, None, None).learns_reconstruction


def test_states_are_scaled_to_the_unit_interval_over_the_whole_state():
    net = network()
    dynamics = eqx.filter_jit(type(net).dynamics)
    state = net.representation(10 * jax.random.normal(KEY, (4, 5, 3, 3)))
    for k in range(20):
        np.testing.assert_allclose(state.min((1, 2, 3)), 0, atol=1e-6)
        np.testing.assert_allclose(state.max((1, 2, 3)), 1, rtol=1e-6)
        state = dynamics(net, state, jnp.full(4, k % 9))


def test_an_action_is_a_plane_with_its_cell_its_column_or_nothing_for_a_pass():
    cells = action_planes((3, 2, 3), 7)
    assert cells is not None and cells.shape == (7, 2, 3)
    assert cells[4, 1, 1] == 1 and cells[:6].sum() == 6 and cells[6].sum() == 0
    columns = action_planes((3, 6, 7), 7)
    assert columns is not None
    np.testing.assert_array_equal(columns[2].sum(0), [0, 0, 6, 0, 0, 0, 0])
    assert action_planes((3, 8, 8), 768) is None


def test_a_direction_is_no_column_even_of_a_board_with_as_many():
    columns, directions = (network(actions=4, shape=(2, 4, 4), directions=directions) for directions in (False, True))
    assert columns.action_embedding is None and columns.turned_entry is None
    assert directions.action_entry is None and directions.turned_entry is not None
    following = np.asarray(directions.dynamics(jnp.ones((4, 4, 4, CONFIG.channels)), jnp.arange(4))).reshape(4, -1)
    assert np.abs(following[:, None] - following[None]).max(-1)[~np.eye(4, dtype=bool)].min() > 1e-4


def test_what_is_learned_of_one_direction_holds_for_all():
    """A turned state, moved in the turned direction, is the moved state turned: up, right, down, left are 0 to 3."""
    net = network(actions=4, shape=(2, 4, 4), directions=True)
    state = jax.random.normal(KEY, (4, 4, 4, CONFIG.channels))
    action = jnp.arange(4)
    moved = net.dynamics(state, action)
    for turns in range(1, 4):  # counterclockwise: up becomes left
        turned = net.dynamics(jnp.rot90(state, turns, (1, 2)), (action - turns) % 4)
        np.testing.assert_allclose(turned, jnp.rot90(moved, turns, (1, 2)), atol=1e-5)
    one = net.dynamics(state[:1].repeat(4, 0), action)
    assert np.abs(np.asarray(one)[0] - np.asarray(one)[1:]).max() > 1e-3


def test_directions_are_four_on_a_square_board():
    for actions, shape in ((5, (2, 4, 4)), (4, (2, 4, 5))):
        with pytest.raises(ConfigError, match="directions"):
            network(actions=actions, shape=shape, directions=True)


def test_the_direction_of_a_move_in_2048_is_the_one_that_the_dynamics_turn_to():
    """Up by the rules is what the first action's stencil sees: a tile moves against the row axis, and so on round."""
    pytest.importorskip("pyspiel")
    from muzen.envs.openspiel import _DIRECTIONS

    before = np.zeros((1, 5, 5, 1))
    before[0, 2, 2] = 1
    for action, (down, right) in enumerate(_DIRECTIONS["2048"]):
        seen = np.array(_quarter_turns(jnp.asarray(before), jnp.array([action])))
        moved = np.roll(seen, -1, axis=1)  # up, as it is seen
        back = np.array(_quarter_turns(jnp.asarray(moved), jnp.array([-action])))
        assert back[0, 2 + down, 2 + right] == 1


@pytest.mark.parametrize(("actions", "shape"), [(9, (5, 3, 3)), (10, (5, 3, 3)), (4, (2, 3, 4)), (50, (5, 3, 3))])
def test_every_action_leads_to_its_own_state(actions, shape):
    net = network(actions=actions, shape=shape)
    state = net.representation(jax.random.normal(KEY, (1, *shape))).repeat(actions, 0)
    following = np.asarray(net.dynamics(state, jnp.arange(actions))).reshape(actions, -1)
    apart = np.abs(following[:, None] - following[None]).max(-1) + np.eye(actions)
    assert apart.min() > 1e-4


def test_a_convolution_keeps_the_board_and_is_the_sum_over_neighbours():
    convolution = Convolution(2, 3, 3, random=np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(1, 4, 5, 2)).astype(np.float32)
    got = np.asarray(convolution(x))[0, 2, 3]
    around = x[0, 1:4, 2:5]
    np.testing.assert_allclose(got, np.einsum("hwc,hwcd->d", around, convolution.weight), rtol=1e-4)
    assert convolution(x).shape == (1, 4, 5, 3)


@pytest.mark.parametrize("size", [1, 3])
def test_the_gradient_of_a_convolution_is_that_of_xla(size):
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(2, 4, 5, 2)), jnp.float32)
    weight = jnp.asarray(random.normal(size=(size, size, 2, 3)), jnp.float32)
    gradients = [jax.grad(lambda *a, f=f: jnp.sin(f(*a)).sum(), (0, 1))(x, weight) for f in (convolve, _convolve)]
    for ours, xla in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, xla, rtol=1e-4, atol=1e-5)


def test_every_weight_is_reached_by_a_gradient():
    net = network(learn_legal=True, learn_to_play=True)
    random = np.random.default_rng(0)
    net = jax.tree.map(lambda x: x + 0.1 * random.normal(size=x.shape) if eqx.is_inexact_array(x) else x, net)
    observation = jnp.asarray(random.normal(size=(4, 5, 3, 3)), jnp.float32)

    def total(n):
        state = n.dynamics(n.representation(observation), jnp.arange(4))
        parts = (
            *n.prediction(state),
            *n.transition(state),
            n.legal(state),
            n.to_play(state),
            n.predict(n.project(state)),
        )
        return sum((jnp.sin(x) * jnp.arange(x.size).reshape(x.shape)).sum() for x in parts)

    for path, gradient in jax.tree_util.tree_leaves_with_path(eqx.filter_jit(eqx.filter_grad(total))(net)):
        assert np.abs(np.asarray(gradient)).max() > 0, jax.tree_util.keystr(path)


def test_a_vector_is_refused_with_the_way_out():
    with pytest.raises(ConfigError, match=r"network\.kind: resnet needs .*use mlp"):
        network(shape=(16,))
