"""Returns against a slow reference that reads like the paper, on random episodes of one to three players."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muzen.maths.returns import lambda_return, n_step_return, n_step_value


def reference_n_step(reward, discount, value, t, n):
    """z_t = r_{t+1} + γ_{t+1} (r_{t+2} + ... + γ_{t+n} ν_{t+n}), read from the inside out; row t holds r_{t+1}."""
    z = value[t + n - 1]
    for i in reversed(range(t, t + n)):
        z = reward[i] + discount[i] * z
    return z


def reference_lambda(reward, discount, value, t, n, lam):
    """The mean of the 1..n-step returns, weighted (1 - λ)λ^(i-1), the last one λ^(n-1)."""
    z = lam ** (n - 1) * reference_n_step(reward, discount, value, t, n)
    for i in range(1, n):
        z = z + (1 - lam) * lam ** (i - 1) * reference_n_step(reward, discount, value, t, i)
    return z


@st.composite
def sequences(draw):
    """B sequences of T rows; some rows terminate their episode."""
    size, steps, players = draw(st.integers(1, 3)), draw(st.integers(1, 12)), draw(st.integers(1, 3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    reward = random.normal(size=(size, steps, players))
    value = random.normal(size=(size, steps, players)) * 10
    gamma = draw(st.sampled_from([1.0, 0.997, 0.5, 0.0]))
    discount = gamma * (random.random((size, steps)) > draw(st.sampled_from([0.0, 0.2, 1.0])))
    return reward, discount, value


@given(sequences(), st.data())
def test_n_step_value_is_the_papers(sequence, data):
    reward, discount, value = sequence
    size, steps, _ = reward.shape
    n = data.draw(st.integers(1, steps))
    expected = [
        [reference_n_step(reward[b], discount[b], value[b], t, n) for t in range(steps - n + 1)] for b in range(size)
    ]
    np.testing.assert_allclose(n_step_value(reward, discount, value, n=n), expected, rtol=1e-4, atol=1e-4)


@given(sequences(), st.data())
def test_lambda_return_is_the_weighted_mean_of_n_step_returns(sequence, data):
    reward, discount, value = sequence
    size, steps, _ = reward.shape
    n, lam = data.draw(st.integers(1, steps)), data.draw(st.sampled_from([0.0, 0.5, 0.9, 1.0]))
    expected = [
        [reference_lambda(reward[b], discount[b], value[b], t, n, lam) for t in range(steps - n + 1)]
        for b in range(size)
    ]
    got = lambda_return(reward, discount, value, lam=lam, n=n)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@given(sequences(), st.sampled_from([0.0, 0.3, 1.0]))
def test_lambda_return_without_n_reaches_the_last_row(sequence, lam):
    reward, discount, value = sequence
    size, steps, _ = reward.shape
    expected = [
        [reference_lambda(reward[b], discount[b], value[b], t, steps - t, lam) for t in range(steps)]
        for b in range(size)
    ]
    np.testing.assert_allclose(lambda_return(reward, discount, value, lam=lam), expected, rtol=1e-4, atol=1e-4)


@given(sequences())
def test_lambda_of_zero_and_one_are_the_one_step_and_n_step_values(sequence):
    reward, discount, value = sequence
    n = reward.shape[1]
    one_step = n_step_value(reward, discount, value, n=1)
    np.testing.assert_allclose(lambda_return(reward, discount, value, lam=0.0), one_step, rtol=1e-5, atol=1e-6)
    whole = n_step_value(reward, discount, value, n=n)
    np.testing.assert_allclose(lambda_return(reward, discount, value, lam=1.0, n=n), whole, rtol=1e-4, atol=1e-4)


def rows(*numbers):
    """One sequence of one player."""
    return np.array(numbers, float)[None, :, None]


def test_n_step_value_of_a_worked_number():
    # 1 + 0.5 (2 + 0.5 * 8) = 4, and 2 + 0.5 (3 + 0.5 * 16) = 7.5
    z = n_step_value(rows(1, 2, 3), np.full((1, 3), 0.5), rows(4, 8, 16), n=2)
    np.testing.assert_allclose(z[0, :, 0], [4.0, 7.5])


def test_n_step_value_stops_at_termination():
    z = n_step_value(rows(1, 2, 100), np.array([[0.5, 0.0, 0.5]]), rows(np.nan, np.nan, np.nan), n=3)
    np.testing.assert_allclose(z[0, :, 0], [1 + 0.5 * 2])


def test_lambda_return_stops_at_termination():
    g = lambda_return(rows(1, 2, 100), np.array([[0.5, 0.0, 0.5]]), rows(4, np.nan, 8), lam=0.5)
    np.testing.assert_allclose(g[0, :, 0], [1 + 0.5 * (0.5 * 4 + 0.5 * 2), 2, 104])


def test_a_reward_one_row_later_counts_once_discounted():
    early = n_step_value(rows(1, 0, 0), np.full((1, 3), 0.9), rows(0, 0, 0), n=3)
    late = n_step_value(rows(0, 1, 0), np.full((1, 3), 0.9), rows(0, 0, 0), n=3)
    np.testing.assert_allclose(late, 0.9 * early)


@given(sequences())
def test_players_are_independent(sequence):
    reward, discount, value = sequence
    n = reward.shape[1]
    together = n_step_value(reward, discount, value, n=n)
    for p in range(reward.shape[2]):
        alone = n_step_value(reward[..., p : p + 1], discount, value[..., p : p + 1], n=n)
        np.testing.assert_array_equal(together[..., p : p + 1], alone)


@given(sequences())
def test_targets_scale_with_rewards_and_values(sequence):
    reward, discount, value = sequence
    n = max(1, reward.shape[1] - 1)
    scaled = n_step_value(1024 * reward, discount, 1024 * value, n=n)
    np.testing.assert_allclose(scaled, 1024 * n_step_value(reward, discount, value, n=n), rtol=1e-5)


@pytest.mark.parametrize("n", [0, 4, -1])
@pytest.mark.parametrize("function", [n_step_value, lambda r, d, b, n: lambda_return(r, d, b, lam=0.5, n=n)])
def test_n_outside_the_sequence_is_refused(function, n):
    with pytest.raises(ValueError, match=f"n: {n}: must be 1 to 3"):
        function(rows(1, 2, 3), np.ones((1, 3)), rows(1, 2, 3), n=n)


def test_lambda_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match=r"lam: 1\.5"):
        lambda_return(rows(1), np.ones((1, 1)), rows(1), lam=1.5)


def test_shapes_that_do_not_agree_are_refused():
    with pytest.raises(ValueError, match=r"must be \[B, T, P\]"):
        n_step_value(rows(1, 2), np.ones((1, 3)), rows(1, 2), n=1)


def reference_window(rewards, terminated, values, start, n, gamma):
    """The value target of one row of one episode, in plain words.

    `rewards` [L, P] are the episode's L steps, `values` [L+1, P] the value of each of its observations, the final one
    included. A terminated episode has nothing after its end; any other goes on, as its final observation says.
    """
    end = min(start + n, len(rewards))
    z = np.zeros(rewards.shape[1])
    for i in range(start, end):
        z = z + gamma ** (i - start) * rewards[i]
    if end == len(rewards) and terminated:
        return z
    return z + gamma ** (end - start) * values[end]


@given(
    length=st.integers(1, 12),
    players=st.integers(1, 3),
    terminated=st.booleans(),
    n=st.integers(1, 20),
    gamma=st.sampled_from([1.0, 0.9]),
    offset=st.integers(0, 40),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_n_step_return_of_an_episode_in_a_ring_is_the_papers(length, players, terminated, n, gamma, offset, seed, data):
    start = data.draw(st.integers(0, length))
    random = np.random.default_rng(seed)
    rewards, values = random.normal(size=(length, players)), random.normal(size=(length + 1, players))
    # The ring has just room for the episode's rows and its final one, wherever they wrap.
    ring = (np.arange(length + 1) + offset) % (length + 1)
    reward, discount = np.full((length + 1, players), np.nan), np.full(length + 1, np.nan)
    reward[ring[:-1]] = rewards
    discount[ring[:-1]] = gamma
    if terminated:
        discount[ring[-2]] = 0.0
    out = np.full(players, np.nan)
    weight, row = n_step_return(reward, discount, offset + start, n, offset + length, out)
    z = out + weight * values[row - offset] if weight else out
    if start < length:
        np.testing.assert_allclose(z, reference_window(rewards, terminated, values, start, n, gamma), atol=1e-6)
    else:
        assert (weight, row) == (1.0, offset + length)
        np.testing.assert_array_equal(out, 0)


def test_truncation_bootstraps_from_the_final_observation_and_termination_does_not():
    reward, out = np.ones((4, 1)), np.empty(1)
    going_on = n_step_return(reward, np.array([0.9, 0.9, 0.9, 0.9]), 1, 10, 3, out)
    assert going_on == (pytest.approx(0.81), 3)
    ended = n_step_return(reward, np.array([0.9, 0.9, 0.0, 0.9]), 1, 10, 3, out)
    assert ended == (0.0, 3)
    np.testing.assert_allclose(out, [1.9])
