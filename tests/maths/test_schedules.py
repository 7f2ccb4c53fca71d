"""Temperatures and rates: the paper's steps, powers that neither overflow nor cancel, limits."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from muzen.config import LearnConfig
from muzen.maths.schedules import learning_rate, visit_policy, visit_temperature

VISITS = arrays(np.int32, 6, elements=st.sampled_from([0, 0, 1, 2, 7, 50, 100_000])).filter(lambda n: n.sum() > 0)


def test_visit_temperature_takes_the_papers_steps():
    fraction = np.array([0.0, 0.49, 0.5, 0.74, 0.75, 1.0, 1.5])
    np.testing.assert_allclose(visit_temperature(fraction), [1, 1, 0.5, 0.5, 0.25, 0.25, 0.25])


def test_a_smooth_temperature_passes_through_the_same_ends_and_middle():
    np.testing.assert_allclose(visit_temperature(np.array([0.0, 0.5, 1.0]), steps=False), [1.0, 0.5, 0.25])


def test_equal_ends_keep_the_temperature():
    np.testing.assert_allclose(visit_temperature(np.linspace(0, 1, 5), 0.7, 0.7), 0.7, rtol=1e-6)


def test_a_temperature_may_end_greedy():
    np.testing.assert_allclose(visit_temperature(np.array([0.0, 0.6, 1.0]), 1.0, 0.0), [1.0, 0.0, 0.0])


def test_visit_policy_of_worked_numbers():
    visits = np.array([1, 2, 3, 0])
    np.testing.assert_allclose(visit_policy(visits, 1.0), np.array([1, 2, 3, 0]) / 6, rtol=1e-6)
    np.testing.assert_allclose(visit_policy(visits, 0.5), np.array([1, 4, 9, 0]) / 14, rtol=1e-6)


def test_temperature_is_a_power_of_visits_and_not_a_factor():
    # exp(N)/T or N/T would give the same policy at every temperature.
    visits = np.array([10, 20])
    assert visit_policy(visits, 0.25)[1] > visit_policy(visits, 1.0)[1] + 0.2


@given(VISITS, st.sampled_from([0.0, 1e-6, 0.01, 0.25, 1.0, 10.0, 1e6]))
def test_visit_policy_sums_to_one_and_is_exactly_zero_where_unvisited(visits, temperature):
    policy = np.asarray(visit_policy(visits, temperature))
    assert policy.sum() == pytest.approx(1.0, abs=1e-5)
    assert (policy[visits == 0] == 0).all()


@given(VISITS)
def test_visit_policy_at_temperature_zero_is_greedy_and_shares_ties(visits):
    best = visits == visits.max()
    np.testing.assert_allclose(visit_policy(visits, 0.0), best / best.sum(), rtol=1e-6)


def test_each_row_may_have_its_own_temperature():
    visits = np.array([[1, 3], [1, 3]])
    np.testing.assert_allclose(visit_policy(visits, np.array([1.0, 0.5])), [[0.25, 0.75], [0.1, 0.9]], rtol=1e-6)


def test_a_row_without_visits_is_zero_and_not_nan():
    np.testing.assert_array_equal(visit_policy(np.zeros((1, 3), int), 1.0), 0)


def test_learning_rate_warms_up_then_falls_to_zero_on_a_cosine():
    rate = partial(
        learning_rate, LearnConfig(learning_rate=1.0, warmup_updates=10, schedule="cosine"), total_updates=110
    )
    np.testing.assert_allclose([rate(0), rate(4), rate(9)], [0.1, 0.5, 1.0])
    np.testing.assert_allclose([rate(10), rate(60), rate(110), rate(500)], [1.0, 0.5, 0.0, 0.0], atol=1e-6)


def test_a_constant_learning_rate_stays_at_its_peak():
    rate = partial(
        learning_rate, LearnConfig(learning_rate=0.3, warmup_updates=2, schedule="constant"), total_updates=100
    )
    np.testing.assert_allclose([rate(0), rate(1), rate(50), rate(10_000)], [0.15, 0.3, 0.3, 0.3], rtol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_learning_rate_without_warmup_starts_at_its_peak(schedule):
    rate = partial(
        learning_rate, LearnConfig(learning_rate=0.3, warmup_updates=0, schedule=schedule), total_updates=100
    )
    assert rate(0) == pytest.approx(0.3)


@pytest.mark.parametrize("total", [0, 1, 50, 100, 101])
def test_a_run_shorter_than_the_warmup_has_a_finite_learning_rate(total):
    config = LearnConfig(warmup_updates=100)
    rate = partial(learning_rate, config, total_updates=total)
    rates = np.asarray(rate(np.arange(200)))
    assert np.isfinite(rates).all()
    assert (rates[:total] > 0).all()
