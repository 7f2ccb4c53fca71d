"""Layers and hidden-state scaling."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzen.errors import ConfigError
from muzen.networks.blocks import Layer, LayerNorm, Linear, ResidualBlock, activation, generator, min_max, state_scaling

KEY = jax.random.key(0)


def test_min_max_of_a_worked_number():
    np.testing.assert_allclose(min_max(jnp.array([[1.0, 3.0, 2.0], [-4.0, 0.0, 4.0]])), [[0, 1, 0.5], [0, 0.5, 1]])


def test_min_max_scales_each_state_by_itself_over_all_its_axes():
    state = jax.random.normal(KEY, (5, 2, 3, 3))
    scaled = np.asarray(min_max(state))
    np.testing.assert_array_equal(scaled.min((1, 2, 3)), 0)
    np.testing.assert_array_equal(scaled.max((1, 2, 3)), 1)
    np.testing.assert_allclose(min_max(state[2:3]), scaled[2:3], rtol=1e-6)


def test_min_max_does_not_change_with_shift_and_scale():
    state = jax.random.normal(KEY, (5, 7))
    np.testing.assert_allclose(min_max(3 * state + 2), min_max(state), atol=1e-6)


def test_a_constant_state_scales_to_zero_with_a_finite_gradient():
    np.testing.assert_array_equal(min_max(jnp.full((2, 4), 7.0)), 0)
    assert np.isfinite(jax.grad(lambda x: min_max(x).sum())(jnp.full((2, 4), 7.0))).all()


def test_min_max_gradient_is_that_of_its_equation_where_entries_share_an_extreme():
    state = jnp.array([[0.0, 0.0, 0.5, 2.0], [3.0, 3.0, -1.0, 3.0]])
    weight = jnp.array([[1.0, -2.0, 3.0, 0.5], [0.2, 1.0, -1.0, 4.0]])

    def plain(state):
        low, high = state.min(1, keepdims=True), state.max(1, keepdims=True)
        return ((state - low) / (high - low) * weight).sum()

    got = jax.grad(lambda x: (min_max(x) * weight).sum())(state)
    np.testing.assert_allclose(got, jax.grad(plain)(state), rtol=1e-6, atol=1e-6)


def test_min_max_gradient_is_finite_however_little_xla_optimises():
    """Unoptimised, XLA computed this layer twice with other rounding: no entry then equalled the highest one."""
    random = np.random.default_rng(0)
    layers = Layer(4, 32, norm=True, activation="relu", random=random), Linear(32, 5, random=random)
    arrays, rest = eqx.partition(layers, eqx.is_array)
    seen = jax.random.normal(jax.random.key(0), (16, 4))

    def loss(arrays):
        layer, head = eqx.combine(arrays, rest)
        return -jax.nn.log_softmax(head(min_max(layer(seen))))[:, 0].mean()

    gradient = jax.jit(jax.grad(loss), compiler_options={"xla_backend_optimization_level": 0})
    for _ in range(50):
        slope = gradient(arrays)
        assert all(np.isfinite(g).all() for g in jax.tree.leaves(slope))
        arrays = jax.tree.map(lambda x, g: x - 0.3 * g, arrays, slope)


def test_min_max_gradient_agrees_with_finite_differences():
    state, weight = np.array([[0.3, 1.7, -0.4, 0.9]], np.float32), np.array([1.0, -2.0, 0.5, 3.0])
    got = jax.grad(lambda x: (min_max(x) * weight).sum())(state)

    def reference(x):
        return ((x - x.min()) / (x.max() - x.min()) * weight).sum()

    moves = np.eye(4)[:, None] * 1e-5
    expected = [(reference(state.astype(float) + m) - reference(state.astype(float) - m)) / 2e-5 for m in moves]
    np.testing.assert_allclose(got[0], expected, atol=1e-4)


def test_layer_norm_has_mean_zero_and_deviation_one_even_far_from_zero():
    x = np.asarray(LayerNorm(64)(jax.random.normal(KEY, (5, 64)) * 3 + 1000))
    np.testing.assert_allclose(x.mean(-1), 0, atol=1e-3)
    np.testing.assert_allclose(x.std(-1), 1, atol=1e-3)


def test_a_linear_layer_of_scale_zero_starts_at_its_bias():
    np.testing.assert_array_equal(Linear(3, 2, random=generator(KEY), scale=0.0, bias=1.5)(jnp.ones((4, 3))), 1.5)


def test_linear_weights_keep_the_variance():
    x = jax.random.normal(KEY, (512, 256))
    assert float(Linear(256, 256, random=generator(KEY))(x).std()) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("norm", [True, False])
def test_a_layer_has_a_norm_only_where_asked(norm):
    assert (Layer(3, 4, norm=norm, activation="silu", random=generator(KEY)).norm is not None) == norm


def test_a_residual_block_adds_to_its_input():
    block = ResidualBlock(4, norm=True, activation="relu", random=generator(KEY))
    x = jax.random.normal(KEY, (2, 4))
    np.testing.assert_allclose(block(x) - x, block.out(block.layer(x)), atol=1e-6)


@pytest.mark.parametrize(("function", "message"), [(activation, "activation: 'swich'"), (state_scaling, "'swich'")])
def test_an_unknown_name_is_refused_with_the_known_ones(function, message):
    with pytest.raises(ConfigError, match=message):
        function("swich")


def test_a_generator_follows_from_new_and_old_keys_alike():
    draws = [generator(key).random() for key in (jax.random.key(7), jax.random.PRNGKey(7), jax.random.key(8))]
    assert draws[0] == draws[1] != draws[2]
