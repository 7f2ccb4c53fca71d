"""Priorities: worked numbers, limits, and that importance weights undo the sampling."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from muzen.maths.priorities import MIN_PRIORITY, importance_weights, priority, probabilities

PRIORITIES = arrays(np.float64, st.integers(1, 30), elements=st.floats(1e-3, 1e3))


def test_priority_is_the_absolute_error_and_never_zero():
    np.testing.assert_allclose(priority(np.array([-2.0, 0.5, 0.0])), [2.0, 0.5, MIN_PRIORITY])


def test_probabilities_of_a_worked_number():
    np.testing.assert_allclose(probabilities(np.array([1.0, 4.0, 4.0]), 0.5), [0.2, 0.4, 0.4])
    np.testing.assert_allclose(probabilities(np.array([1.0, 4.0, 5.0]), 1.0), [0.1, 0.4, 0.5])


def test_alpha_zero_is_uniform_over_what_is_there():
    np.testing.assert_allclose(probabilities(np.array([1.0, 0.0, 9.0]), 0.0), [0.5, 0.0, 0.5])


@given(PRIORITIES, st.floats(0, 2))
def test_probabilities_sum_to_one_and_keep_the_order(p, alpha):
    got = probabilities(p, alpha)
    assert got.sum() == pytest.approx(1.0)
    assert (np.diff(got[np.argsort(p)]) >= -1e-12).all()


@given(PRIORITIES, st.floats(0.01, 100), st.floats(0, 1))
def test_probabilities_do_not_change_with_the_scale_of_priorities(p, scale, alpha):
    np.testing.assert_allclose(probabilities(scale * p, alpha), probabilities(p, alpha), rtol=1e-9)


def test_importance_weights_of_a_worked_number():
    # 1 / (4 P) = 2.5, 0.5; over the largest: 1, 0.2
    np.testing.assert_allclose(importance_weights(np.array([0.1, 0.5]), 4, 1.0), [1.0, 0.2])
    np.testing.assert_allclose(importance_weights(np.array([0.1, 0.5]), 4, 0.5), [1.0, np.sqrt(0.2)])


def test_beta_zero_weighs_every_sample_the_same():
    np.testing.assert_array_equal(importance_weights(np.array([0.1, 0.5, 0.4]), 3, 0.0), 1.0)


@given(PRIORITIES, st.floats(0, 1))
def test_with_beta_one_the_weighted_mean_is_the_uniform_mean(p, alpha):
    probability = probabilities(p, alpha)
    x = np.arange(len(p), dtype=float)
    weights = importance_weights(probability, len(p), 1.0)
    expectation = (probability * weights * x).sum() / (probability * weights).sum()
    assert expectation == pytest.approx(x.mean())


@given(PRIORITIES, st.floats(0, 1), st.floats(0, 1))
def test_importance_weights_lie_in_0_to_1_and_the_rarest_has_1(p, alpha, beta):
    weights = importance_weights(probabilities(p, alpha), len(p), beta)
    assert (weights > 0).all()
    assert weights.max() == 1.0
    assert weights[p.argmin()] == 1.0


@pytest.mark.parametrize("of", [np.asarray, jnp.asarray])
def test_numpy_in_numpy_out_and_jax_in_jax_out(of):
    error = of(np.array([1.0, -3.0], np.float32))
    p = priority(error)
    q = probabilities(p, 0.6)
    for array in (p, q, importance_weights(q, 2, 0.4)):
        assert type(array) is type(error)
        assert array.dtype == np.float32
