"""The built-in network: shapes, bounds, what it starts as, and that every option can be trained."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzen.config import NetworkConfig
from muzen.errors import ConfigError
from muzen.networks import Network, make_network

KEY = jax.random.key(0)
SMALL = NetworkConfig(width=8)


def network(config=SMALL, players=1, key=KEY):
    return make_network(config, (3, 2), 4, 11, 5, players, key)


def test_the_built_in_network_keeps_the_contract_of_networks():
    assert isinstance(network(), Network)


@pytest.mark.parametrize(("players", "shape"), [(1, ()), (2, ()), (3, (3,))])
def test_shapes(players, shape):
    net = network(players=players)
    state = net.representation(jnp.ones((6, 3, 2)))
    following = net.dynamics(state, jnp.arange(6) % 4)
    assert state.shape == following.shape == (6, 8)
    assert net.policy(state).shape == (6, 4)
    assert net.value(state).shape == (6, *shape, 11)
    assert net.reward(state).shape == (6, *shape, 5)
    assert net.continues(state).shape == (6,)
    assert net.predict(net.project(state)).shape == (6, 8)


@pytest.mark.parametrize(("scaling", "low"), [("minmax", 0.0), ("tanh", -1.0)])
def test_states_stay_bounded_however_long_the_unroll(scaling, low):
    net = network(NetworkConfig(width=8, state_scaling=scaling))
    state = net.representation(100 * jax.random.normal(KEY, (5, 3, 2)))
    for k in range(50):
        assert float(state.min()) >= low
        assert float(state.max()) <= 1.000001
        if scaling == "minmax":
            np.testing.assert_allclose(state.max(-1), 1, rtol=1e-6)
        state = net.dynamics(state, jnp.full(5, k % 4))


def test_heads_start_uniform_and_expect_the_episode_to_go_on():
    net = network()
    state = net.representation(jax.random.normal(KEY, (5, 3, 2)))
    for head in (net.policy, net.value, net.reward):
        np.testing.assert_array_equal(head(state), 0)
    assert float(jax.nn.sigmoid(net.continues(state)).min()) > 0.9


def test_every_action_leads_to_its_own_state():
    net = network()
    state = jnp.repeat(net.representation(jax.random.normal(KEY, (1, 3, 2))), 4, axis=0)
    following = np.asarray(net.dynamics(state, jnp.arange(4)))
    for a, b in itertools.combinations(range(4), 2):
        assert np.abs(following[a] - following[b]).max() > 0.01


def test_a_batch_equals_its_rows_alone():
    net = network()
    observation, action = jax.random.normal(KEY, (5, 3, 2)), jnp.array([0, 1, 2, 3, 0])
    together = net.dynamics(net.representation(observation), action)
    for i in range(5):
        alone = net.dynamics(net.representation(observation[i : i + 1]), action[i : i + 1])
        np.testing.assert_allclose(together[i : i + 1], alone, atol=1e-5)


@pytest.mark.parametrize("players", [1, 3])
def test_heads_asked_together_say_what_they_say_alone(players):
    net = network(players=players)
    state = jax.random.uniform(KEY, (5, 8))
    for together, alone in [
        (net.prediction(state), (net.policy(state), net.value(state))),
        (net.transition(state), (net.reward(state), net.continues(state))),
    ]:
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_array_equal(a, b)


def test_one_key_gives_one_network():
    assert eqx.tree_equal(network(), network())
    assert not eqx.tree_equal(network(), network(key=jax.random.key(1)))


@pytest.mark.parametrize(
    "config",
    [
        NetworkConfig(width=8, norm=norm, activation=activation, state_scaling=scaling, blocks=blocks)
        for norm, activation, scaling, blocks in [
            (True, "relu", "minmax", 1),
            (False, "silu", "tanh", 2),
            (True, "silu", "tanh", 1),
            (False, "relu", "minmax", 3),
        ]
    ],
)
def test_every_weight_is_moved_by_an_unroll_in_every_option(config):
    net = network(config)
    # Heads that start at zero pass no gradient on; one step later they do.
    random = np.random.default_rng(0)
    net = jax.tree.map(lambda x: jnp.asarray(x + 0.1 * random.normal(size=x.shape), x.dtype), net)

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(net):
        state = net.representation(jax.random.normal(KEY, (64, 3, 2)))
        total = 0.0
        for _ in range(2):
            state = net.dynamics(state, jnp.arange(64) % 4)
            heads = net.policy(state), net.value(state), net.reward(state), net.continues(state)
            total += sum((head**2).sum() for head in (*heads, net.predict(net.project(state))))
        return total

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(net)):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path


def test_a_norm_is_there_only_where_asked():
    with_norm, without = (len(jax.tree.leaves(network(NetworkConfig(norm=norm)))) for norm in (True, False))
    assert with_norm > without


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"activation": "gleu"}, r"network\.activation: 'gleu'"),
        ({"state_scaling": "l2"}, r"network\.state_scaling: 'l2'"),
    ],
)
def test_an_unknown_option_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        network(NetworkConfig(**wrong))
