"""Losses: worked numbers, exact zeros, gradients against finite differences, scales measured from gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from muzen.maths.losses import (
    binary_cross_entropy,
    cross_entropy,
    kl,
    negative_cosine,
    scale_gradient,
    unrolled_loss_weights,
)

LOGITS = arrays(np.float32, 5, elements=st.floats(-8, 8, width=32))
MASSES = arrays(np.float32, 5, elements=st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0])).filter(lambda x: x.sum() > 0)


def slope(function, x, step=1e-3):
    """Central differences, in float64, of a function that takes float64."""
    x = np.asarray(x, np.float64)
    result = np.zeros_like(x)
    for i in range(x.size):
        move = np.zeros_like(x)
        move.flat[i] = step
        result.flat[i] = (function(x + move) - function(x - move)) / (2 * step)
    return result


def log_softmax(x):
    return x - np.log(np.exp(x - x.max()).sum()) - x.max()


def test_cross_entropy_of_a_worked_number():
    assert float(cross_entropy(jnp.array([0.5, 0.5]), jnp.zeros(2))) == pytest.approx(np.log(2))
    assert float(cross_entropy(jnp.array([1.0, 0.0]), jnp.log(jnp.array([0.25, 0.75])))) == pytest.approx(np.log(4))


@given(MASSES, LOGITS)
def test_cross_entropy_gradient_agrees_with_finite_differences(mass, logits):
    p = mass / mass.sum()
    got = jax.grad(lambda x: cross_entropy(p, x))(logits)
    np.testing.assert_allclose(got, slope(lambda x: -(p * log_softmax(x)).sum(), logits), atol=1e-4)


@given(MASSES, LOGITS)
def test_kl_gradient_agrees_with_finite_differences(mass, logits):
    p = (mass / mass.sum()).astype(np.float64)
    entropy = -sum(q * np.log(q) for q in p if q > 0)
    got = jax.grad(lambda x: kl(jnp.asarray(p, jnp.float32), x))(logits)
    np.testing.assert_allclose(got, slope(lambda x: -(p * log_softmax(x)).sum() - entropy, logits), atol=1e-4)


@given(MASSES, LOGITS)
def test_kl_is_never_negative_and_zero_for_the_same_distribution(mass, logits):
    p = mass / mass.sum()
    assert float(kl(p, logits)) > -1e-5
    same = np.where(p > 0, np.log(np.maximum(p, 1e-30)), -np.inf).astype(np.float32)
    assert float(kl(p, same)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("loss", [cross_entropy, kl])
def test_losses_and_gradients_are_finite_at_exact_zeros(loss):
    p, logits = jnp.array([0.0, 1.0, 0.0]), jnp.array([-jnp.inf, 2.0, 1.0])
    value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(p, logits)
    assert np.isfinite(value)
    for gradient in gradients:
        assert np.isfinite(gradient).all()


def test_cross_entropy_ignores_a_constant_added_to_logits():
    p, logits = jnp.array([0.2, 0.3, 0.5]), jnp.array([1.0, -1.0, 0.5])
    np.testing.assert_allclose(cross_entropy(p, logits), cross_entropy(p, logits + 100.0), rtol=1e-5)


def test_binary_cross_entropy_of_a_worked_number():
    assert float(binary_cross_entropy(jnp.float32(0.0), 1.0)) == pytest.approx(np.log(2))
    assert float(binary_cross_entropy(jnp.log(3.0), 0.0)) == pytest.approx(np.log(4))


@given(st.floats(-10, 10, width=32), st.floats(0, 1))
def test_binary_cross_entropy_gradient_agrees_with_finite_differences(logit, target):
    def reference(x):
        return -(target * np.log(1 / (1 + np.exp(-x))) + (1 - target) * np.log(1 / (1 + np.exp(x))))[0]

    got = jax.grad(binary_cross_entropy)(jnp.float32(logit), target)
    np.testing.assert_allclose(got, slope(reference, [logit])[0], atol=1e-4)


def test_binary_cross_entropy_does_not_overflow():
    loss = binary_cross_entropy(jnp.array([1e4, -1e4, 1e4]), jnp.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(loss, [0.0, 0.0, 1e4])
    assert np.isfinite(jax.grad(lambda x: binary_cross_entropy(x, 0.0))(1e30))


def test_negative_cosine_of_worked_numbers():
    a = jnp.array([[1.0, 0.0], [3.0, 4.0], [1.0, 1.0], [0.0, 2.0]])
    b = jnp.array([[5.0, 0.0], [-3.0, -4.0], [1.0, -1.0], [3.0, 4.0]])
    np.testing.assert_allclose(negative_cosine(a, b), [-1.0, 1.0, 0.0, -0.8], atol=1e-6)


def test_negative_cosine_does_not_change_with_length():
    a, b = jax.random.normal(jax.random.key(0), (2, 9, 7))
    np.testing.assert_allclose(negative_cosine(a, b), negative_cosine(0.001 * a, 1000 * b), rtol=1e-5)


@given(arrays(np.float64, 4, elements=st.floats(-3, 3)).filter(lambda x: np.linalg.norm(x) > 0.3))
def test_negative_cosine_gradient_agrees_with_finite_differences(a):
    b = np.array([1.0, -2.0, 0.5, 0.1])
    got = jax.grad(lambda x: negative_cosine(x, jnp.asarray(b, jnp.float32)))(jnp.asarray(a, jnp.float32))
    expected = slope(lambda x: -(x @ b) / np.linalg.norm(x) / np.linalg.norm(b), a)
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_negative_cosine_of_a_zero_vector_is_zero_with_a_zero_gradient_of_its_own():
    value, gradient = jax.value_and_grad(negative_cosine, argnums=1)(jnp.zeros(3), jnp.ones(3))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)
    # As of a predictor that begins at zero: no direction, and nothing that drowns every other gradient.
    np.testing.assert_array_equal(jax.grad(negative_cosine)(jnp.zeros(3), jnp.ones(3)), 0)


@pytest.mark.parametrize("s", [0.5, 1 / 3, 0.0, 2.0])
def test_scale_gradient_keeps_the_value_to_the_bit_and_scales_the_gradient(s):
    x = jax.random.normal(jax.random.key(1), (100,)) * 1e3
    np.testing.assert_array_equal(jax.jit(scale_gradient, static_argnums=1)(x, s), x)
    plain = jax.grad(lambda x: jnp.sin(x).sum())(x)
    scaled = jax.grad(lambda x: jnp.sin(scale_gradient(x, s)).sum())(x)
    np.testing.assert_allclose(scaled, s * plain, rtol=1e-6)


def test_scale_gradient_halves_once_per_step_of_an_unroll():
    def last(x):
        for _ in range(4):
            x = 2.0 * scale_gradient(x, 0.5)
        return x

    assert jax.grad(last)(3.0) == 1.0


def test_scale_gradient_keeps_the_dtype():
    assert jax.grad(lambda x: scale_gradient(x, np.float64(0.5)))(jnp.float32(1)).dtype == jnp.float32


def test_unrolled_loss_weights_are_one_at_the_root_and_one_over_the_real_steps_after_it():
    mask = jnp.array([[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0]], bool)
    third = 1 / 3
    expected = [[1, third, third, third], [1, 0.5, 0.5, 0], [1, 0, 0, 0]]
    np.testing.assert_allclose(unrolled_loss_weights(mask), expected)


@given(st.integers(0, 7), st.integers(0, 7))
def test_unrolled_loss_weights_sum_to_one_after_the_root(real, padding):
    mask = np.array([[True] + [True] * real + [False] * padding])
    weights = np.asarray(unrolled_loss_weights(mask))
    assert weights.shape == mask.shape
    assert weights[0, 0] == 1
    assert weights[0, 1:].sum() == pytest.approx(1.0 if real else 0.0)
