"""Every field of every window against a slow and obvious reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_reference import end_of, episode, filled, lambda_target, random_lanes, spec_of, starts_of, window

from muzen.config import ReplayConfig
from muzen.replay import Replay, Rows
from muzen.types import EnvSpec


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    lanes=st.integers(1, 3),
    rows=st.integers(2, 40),
    capacity=st.integers(2, 30),
    players=st.integers(1, 3),
    unroll=st.integers(0, 7),
    n=st.integers(1, 12),
    alpha=st.sampled_from([0.0, 0.7]),
    ends=st.sampled_from([0.0, 0.6, 1.0]),
)
def test_every_window_equals_the_reference(seed, lanes, rows, capacity, players, unroll, n, alpha, ends):
    rng = np.random.default_rng(seed)
    stored = random_lanes(rng, lanes, rows, players, 3)
    if not starts_of(stored, capacity):
        return
    spec = spec_of(players)
    replay = filled(stored, spec, capacity * lanes, priority_alpha=alpha)
    assert replay.capacity == capacity
    assert replay.starts == len(starts_of(stored, capacity))
    ends = 0.0 if alpha else ends
    batch = replay.sample(2, 16, unroll_steps=unroll, n_step=n, discount=0.9, bootstrap_observation=True, ends=ends)
    for c, b in np.ndindex(2, 16):
        lane, start = stored[batch.index[c, b] % lanes], batch.index[c, b] // lanes
        assert batch.index[c, b] in starts_of(stored, capacity)
        if ends == 1 and unroll and lane[end_of(lane, start) - 1].terminated:
            assert start >= end_of(lane, start) - unroll
        for name, expected in window(lane, start, unroll, n, 0.9).items():
            got = getattr(batch, name)[c, b]
            assert len(got) == len(expected), name
            for k, value in enumerate(expected):
                if value is None:
                    assert 0 <= got[k] < 3
                else:
                    np.testing.assert_allclose(got[k], value, rtol=1e-5, atol=1e-6, err_msg=f"{name} at k={k}")


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    players=st.integers(1, 2),
    unroll=st.integers(0, 4),
    n=st.integers(1, 8),
    lam=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    correct=st.booleans(),
)
def test_a_lambda_value_target_equals_its_recurrence(seed, players, unroll, n, lam, correct):
    stored = random_lanes(np.random.default_rng(seed), 2, 40, players, 3, end=0.2)
    if not starts_of(stored, 30):
        return
    options = {"unroll_steps": unroll, "n_step": n, "discount": 0.9, "td_lambda": lam, "correct_off_policy": correct}
    batch = filled(stored, spec_of(players), 60).sample(1, 32, **options)
    for b in range(32):
        lane, start = stored[batch.index[0, b] % 2], batch.index[0, b] // 2
        for k in range(unroll + 1):
            if start + k >= end_of(lane, start):
                np.testing.assert_array_equal(batch.value_target[0, b, k], 0)
                continue
            expected = lambda_target(lane, start, start + k, n, 0.9, lam, correct)
            if expected is None:
                assert not batch.bootstrap_mask[0, b, k]
            else:
                np.testing.assert_allclose(batch.value_target[0, b, k], expected, rtol=1e-5, atol=1e-6)


def sample_of(lane, start, **options):
    """The window that starts at row `start` of a lone lane."""
    replay = filled([lane], spec_of(), 100)
    for _ in range(100):
        batch = replay.sample(1, 32, **{"unroll_steps": 3, "n_step": 2, "discount": 0.5} | options)
        for b in np.flatnonzero(batch.index[0] == start):
            return type(batch)(*(None if x is None else x[0, b] for x in batch))
    raise AssertionError(f"start {start} was never drawn")


def test_truncation_bootstraps_from_the_value_of_the_final_observation():
    batch = sample_of(episode(4, terminated=False), 3)
    np.testing.assert_allclose(batch.value_target[0], [1 + 0.5 * 7])
    np.testing.assert_allclose(sample_of(episode(4, terminated=False), 2).value_target[0], [1 + 0.5 + 0.25 * 7])


def test_termination_does_not_bootstrap():
    np.testing.assert_allclose(sample_of(episode(4, terminated=True), 3).value_target[0], [1.0])
    np.testing.assert_allclose(sample_of(episode(4, terminated=True), 2).value_target[0], [1.5])


def test_value_target_of_two_steps_with_worked_numbers():
    np.testing.assert_allclose(sample_of(episode(9, terminated=True), 1).value_target[0], [1 + 0.5 + 0.25 * 3])


def test_absorbing_steps_after_termination_train_value_and_reward_to_zero_and_the_end_itself():
    batch = sample_of(episode(4, terminated=True), 3)
    assert batch.step_mask.tolist() == [True, True, True]
    assert batch.reward[:, 0].tolist() == [1, 0, 0]
    assert batch.continues.tolist() == [0, 0, 0]
    assert batch.value_mask.tolist() == [True, True, True, True]
    assert batch.value_target[1:].tolist() == [[0], [0], [0]]
    assert batch.policy_mask.tolist() == [True, False, False, False]


@pytest.mark.parametrize("terminated", [True, False])
def test_the_policy_past_an_end_is_masked_and_not_trained_to_uniform(terminated):
    batch = sample_of(episode(4, terminated=terminated), 2)
    assert batch.policy_mask.tolist() == [True, True, False, False]
    np.testing.assert_array_equal(batch.policy_target[2:], 0)


def test_everything_past_a_truncation_is_masked():
    batch = sample_of(episode(4, terminated=False), 3)
    assert batch.step_mask.tolist() == [True, False, False]
    assert batch.continues.tolist() == [1, 1, 1]
    assert batch.value_mask.tolist() == [True, False, False, False]
    assert batch.policy_mask.tolist() == [True, False, False, False]


def test_the_final_observation_is_real_and_is_repeated_after_it():
    batch = sample_of(episode(4, terminated=False), 3)
    assert batch.observation[:, 0].tolist() == [3, 4, 4, 4]
    assert batch.observation_mask.tolist() == [True, True, False, False]


def test_each_unrolled_step_says_who_moves_there():
    lane = episode(6, terminated=True)
    for row, player in zip(lane, (0, 1, 1, 0, 1, 0, 0), strict=True):
        row.to_play = player
    assert sample_of(lane, 2).to_play.tolist() == [1, 0, 1, 0]


def test_each_value_target_says_who_moves_where_it_bootstraps():
    lane = episode(8, terminated=True)
    for row, player in zip(lane, (0, 1, 1, 0, 1, 0, 0, 1, 1), strict=True):
        row.to_play = player
    assert sample_of(lane, 1, n_step=3).bootstrap_to_play.tolist() == [1, 0, 0, 1]


def test_unroll_step_k_trains_on_the_reward_of_step_k():
    lane = episode(6, terminated=True)
    for t, row in enumerate(lane[:-1]):
        row.reward[:] = t
    assert sample_of(lane, 2).reward[:, 0].tolist() == [2, 3, 4]


@pytest.mark.parametrize("alpha", [0.0, 1.0], ids=["uniform", "by-priority"])
def test_starts_reach_the_last_step_of_an_episode_and_leave_out_final_and_newest_rows(alpha):
    lane = episode(4, terminated=True) + episode(3, terminated=False) + episode(5, terminated=True)[:2]
    replay = filled([lane], spec_of(), 100, priority_alpha=alpha)
    drawn = set(replay.sample(4, 256, unroll_steps=5, n_step=3, discount=1.0).index.ravel().tolist())
    assert drawn == {0, 1, 2, 3, 5, 6, 7, 9}


def test_an_open_episode_bootstraps_from_its_newest_row():
    batch = sample_of(episode(9, terminated=True)[:4], 2)
    np.testing.assert_allclose(batch.value_target[0], [1 + 0.5 * 3])
    assert batch.step_mask.tolist() == [True, False, False]
    assert batch.observation_mask.tolist() == [True, True, False, False]


def test_a_row_without_search_has_no_policy_target_and_says_so_as_bootstrap():
    lane = episode(4, terminated=False)
    lane[1].policy[:], lane[2].value[:] = 0, np.nan
    batch = sample_of(lane, 0)
    assert batch.policy_mask.tolist() == [True, False, True, True]
    assert batch.bootstrap_mask.tolist() == [False, True, True, True]
    assert np.isfinite(batch.value_target).all()


def test_padding_actions_are_uniform_over_all_actions():
    replay = filled([episode(1, terminated=True)], spec_of(), 100)
    actions = replay.sample(10, 300, unroll_steps=2, n_step=1, discount=1.0).action[..., 1]
    assert np.abs(np.bincount(actions.ravel(), minlength=3) - 1000).max() < 4 * np.sqrt(3000 * 2 / 9)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "int16"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4)])
def test_observations_of_any_type_and_shape_come_back_as_stored(dtype, shape):
    spec = EnvSpec("test", shape, dtype, 2)
    replay = Replay(spec, ReplayConfig(max_steps=64), 1, 0)
    stored = np.random.default_rng(0).integers(0, 200, (10, *shape)).astype(dtype)
    for t in range(10):
        flag = np.zeros(1, bool)
        replay.add(np.zeros(1, int), Rows(stored[t : t + 1], flag, np.zeros((1, 1)), flag, flag, flag, flag, None))
    batch = replay.sample(1, 8, unroll_steps=2, n_step=1, discount=1.0, bootstrap_observation=True)
    assert batch.observation.dtype == dtype and batch.observation.shape == (1, 8, 3, *shape)
    for b in range(8):
        np.testing.assert_array_equal(batch.observation[0, b, 0], stored[batch.index[0, b]])
        np.testing.assert_array_equal(batch.bootstrap_observation[0, b, 0], stored[batch.index[0, b] + 1])
    np.testing.assert_array_equal(replay.observations(np.array([[3, 4]])), stored[None, 3:5])


def test_the_end_of_an_episode_is_its_final_row():
    assert end_of(episode(4, terminated=True), 1) == 4
