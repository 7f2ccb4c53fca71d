"""Resigning in self-play: who gives up loses, the cut is no end that a model could learn, and some games go on."""

from __future__ import annotations

import numpy as np
import pytest

from muzen.actors import Plan, Rollout
from muzen.config import Config, ReplayConfig, override
from muzen.envs import make
from muzen.errors import ConfigError
from muzen.experiment.parts import require_resignation
from muzen.reanalyse import VALUES_AT_ONCE, Reanalyse
from muzen.replay import Replay

pytest.importorskip("pyspiel")

GAME = "openspiel:tic_tac_toe"
LANES = 4


def rollout(never, environments=LANES):
    return Rollout(lambda: make(GAME), environments, seed=3, resign_below=-0.8, resign_never=never)


def plan_of(now, hopeless):
    """The first legal action everywhere; the player who moves is sure to lose where `hopeless`."""
    size = len(now)
    value = np.zeros((size, 2), np.float32)
    value[np.arange(size), now.to_play] = np.where(hopeless, -0.9, 0.1)
    value[np.arange(size), 1 - now.to_play] = -value[np.arange(size), now.to_play]
    return Plan(now.legal.argmax(1).astype(np.int32), np.full((size, 9), 1 / 9, np.float32), value)


@pytest.mark.slow
def test_who_resigns_moves_once_more_and_has_lost():
    now, replay = rollout(never=0.0), None
    replay = Replay(now.spec, ReplayConfig(), LANES, seed=0)
    hopeless = np.array([False, True, False, False])
    for turn in range(4):  # moves 0 and 1, the move of who resigns, the final row
        plan = plan_of(now, hopeless & (turn == 2))
        resigner = now.to_play[1]
        rows, steps, ended = now.step(plan)
        replay.add(np.arange(LANES), rows)
        if turn == 2:
            assert rows.truncated.tolist() == [False, True, False, False] and not rows.terminated.any()
            (episode,) = ended
            assert episode.resigned and not episode.terminated and episode.hopeless == -1
            lost = np.where(np.arange(2) == resigner, -1, 1)
            np.testing.assert_array_equal(episode.episode_return, lost)
            assert now.legal[1].sum() == 9 - 3, "the position where the game is cut off has its own moves"
    assert rows.final.tolist() == [False, True, False, False] and steps == 3
    np.testing.assert_array_equal(rows.value[1], lost)
    np.testing.assert_array_equal(plan.value[1], [0.1, -0.1] if now.to_play[1] else plan.value[1])
    # Every position of the resigned game is worth what was lost and won.
    batch = replay.sample(1, 64, unroll_steps=0, n_step=9, discount=1.0)
    resigned = (batch.index[0] % LANES == 1) & (batch.index[0] // LANES < 3)
    assert resigned.sum() > 5
    np.testing.assert_array_equal(batch.value_target[0, resigned, 0], np.tile(lost, (resigned.sum(), 1)))


def test_a_game_that_is_played_on_says_who_would_have_resigned():
    now = rollout(never=1.0)
    told = []
    for turn in range(10):
        _, _, ended = now.step(plan_of(now, np.full(LANES, turn == 3)))
        told += ended
    # By first legal actions the first player wins with its fourth move; the second had given up at its second.
    assert len(told) == LANES
    for episode in told:
        assert episode.terminated and not episode.resigned
        assert episode.hopeless == 1 and episode.episode_return.tolist() == [1, -1]


def test_the_share_of_games_played_on_is_the_one_asked_for_and_follows_from_the_seed():
    flags = [[now._plays_on[i] for i in range(400)] for now in (rollout(0.25, 400), rollout(0.25, 400))]
    assert flags[0] == flags[1] and 0.18 < np.mean(flags[0]) < 0.32


def test_a_winning_last_move_is_a_win_even_of_who_had_given_up():
    now = rollout(never=0.0)
    for turn in range(7):
        rows, _, ended = now.step(plan_of(now, np.full(LANES, turn == 6)))
    assert rows.terminated.all() and not rows.truncated.any()
    assert all(e.episode_return.tolist() == [1, -1] and not e.resigned for e in ended)


def test_nobody_resigns_before_learning_or_where_it_is_off():
    now = rollout(never=0.0)
    rows, _, _ = now.step(plan_of(now, np.ones(LANES, bool)), resign=False)
    assert not rows.truncated.any()
    off = Rollout(lambda: make(GAME), LANES, seed=3)
    rows, _, _ = off.step(plan_of(off, np.ones(LANES, bool)))
    assert not rows.truncated.any()


@pytest.mark.parametrize("turn", [2, 3])
def test_a_rollout_comes_back_where_somebody_had_just_resigned(turn):
    now, other = rollout(never=0.5), rollout(never=0.5)
    for t in range(turn):
        now.step(plan_of(now, np.full(LANES, t == 1)))
    assert not other.restore(now.state())
    assert other.state() == now.state()
    plan = plan_of(now, np.zeros(LANES, bool))
    for x, y in zip(now.step(plan)[0], other.step(plan)[0], strict=True):
        np.testing.assert_array_equal(x, y)


def test_reanalysis_leaves_what_resigning_has_settled():
    now = rollout(never=0.0)
    replay = Replay(now.spec, ReplayConfig(), LANES, seed=0)
    for turn in range(4):
        rows, _, _ = now.step(plan_of(now, np.array([False, True, False, False]) & (turn == 2)))
        replay.add(np.arange(LANES), rows)

    def plan(observation, legal, to_play, states):
        size = len(observation)
        return Plan(np.zeros(size, int), np.full((size, 9), 1 / 9), np.full((size, 2), 0.25))

    final = 1 + LANES * 3  # of lane 1, its fourth row
    before = replay.sample(1, 256, unroll_steps=0, n_step=9, discount=1.0)
    assert Reanalyse(replay, 60.0, 12).step(1, plan) == 60
    after = replay.sample(1, 256, unroll_steps=0, n_step=9, discount=1.0)
    resigned = [(batch.index[0] % LANES == 1) & (batch.index[0] < final) for batch in (before, after)]
    assert all(mask.sum() > 20 for mask in resigned)

    values = Reanalyse(replay, 0.0, 12, values_per_step=1.5 * VALUES_AT_ONCE)
    judge = lambda observation, to_play: np.full((len(observation), 2), 0.75)  # noqa: E731
    once, twice = (values.refresh_values(1, judge, np.random.default_rng(0)) for _ in range(2))
    assert 0 < once < VALUES_AT_ONCE and VALUES_AT_ONCE < twice < 2 * VALUES_AT_ONCE
    judged = replay.sample(1, 256, unroll_steps=0, n_step=1, discount=1.0)
    open_ = (judged.index[0] % LANES != 1) & judged.bootstrap_mask[0, :, 0]
    assert open_.any() and (judged.bootstrap_value[0, open_] == 0.75).all()

    last = replay.sample(1, 256, unroll_steps=0, n_step=9, discount=1.0)
    resigned.append((last.index[0] % LANES == 1) & (last.index[0] < final))
    for batch, mask in zip((before, after, last), resigned, strict=True):
        assert set(batch.value_target[0, mask, 0].ravel().tolist()) == {-1.0, 1.0}


def test_resigning_needs_stored_values():
    config = override(Config(GAME), {"act.resign_below": -0.8, "learn.bootstrap": "target"})
    with pytest.raises(ConfigError, match=r"act\.resign_below: -0\.8, with learn\.bootstrap target"):
        require_resignation(config.act, make(GAME).spec, config.learn.bootstrap)
