"""What is trained on, from the environment's own words to the batch, against references that read like the paper."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_reference import Row, end_of, episode, filled, lambda_target, random_lanes, spec_of, starts_of, window

from muzen.actors import Plan, Rollout
from muzen.config import ReplayConfig
from muzen.replay import Replay
from muzen.replay.windows import windows
from muzen.types import TimeStep


def all_windows(replay, lanes, capacity, *, unroll, n, gamma=0.9, lam=1.0, correct=False):
    """The window of every start, in the order of `starts_of`."""
    return windows(
        replay._store,
        replay.spec,
        np.array(starts_of(lanes, capacity)),
        unroll_steps=unroll,
        n_step=n,
        discount=gamma,
        td_lambda=lam,
        correct_off_policy=correct,
        bootstrap_observation=True,
        state=np.zeros(1, np.uint64),
    )


def assert_windows(batch, lanes, unroll, n, lam=1.0, correct=False):
    """Every field, and the value target, of every window equals the reference's."""
    targets = batch.value_target
    for b, index in enumerate(batch.index):
        lane, start = lanes[index % len(lanes)], index // len(lanes)
        fields = window(lane, start, unroll, n, 0.9)
        if lam < 1 or correct:
            fields = {name: x for name, x in fields.items() if "partial" not in name and "bootstrap" not in name}
        for name, expected in fields.items():
            known = [k for k, value in enumerate(expected) if value is not None]
            got, wanted = getattr(batch, name)[b, known], np.array([expected[k] for k in known])
            assert np.allclose(got, wanted, rtol=1e-5, atol=1e-6), (name, lane, start, got, wanted)
        for k in range(unroll + 1):
            past = start + k >= end_of(lane, start)
            z = np.zeros(len(lane[0].reward)) if past else lambda_target(lane, start, start + k, n, 0.9, lam, correct)
            assert batch.bootstrap_mask[b, k] == (z is not None)
            assert z is None or np.allclose(targets[b, k], z, rtol=1e-5, atol=1e-6), (lane, start, k)


def short_lanes(longest, kept):
    """A lane for each length of episode and each way that it ends, the rows before it and its first two evicted."""
    lanes = []
    for length, ending in itertools.product(range(1, longest + 1), ("terminated", "truncated", "open")):
        lane = episode(longest, terminated=False) + episode(length + 2, terminated=ending == "terminated")
        lane = lane if ending != "open" else lane[:-1]
        rng = np.random.default_rng(len(lanes))
        for row in lane:
            row.reward, row.value = rng.normal(size=1) * (not row.final), rng.normal(size=1)
            row.policy = rng.dirichlet(np.ones(3))
        lanes.append(lane)
        assert len(lane) > kept
    return lanes


@pytest.mark.parametrize("kept", [3, 5])
def test_every_start_of_every_short_episode_has_the_references_window_for_every_n_and_unroll(kept):
    lanes = short_lanes(4, kept)
    replay = filled(lanes, spec_of(), kept * len(lanes))
    assert replay.capacity == kept and len(starts_of(lanes, kept)) > len(lanes)
    for n, unroll in itertools.product((1, 2, 6), (0, 2, 5)):
        assert_windows(all_windows(replay, lanes, kept, unroll=unroll, n=n), lanes, unroll, n)
        for lam, correct in ((0.5, False), (0.0, True), (1.0, True)):
            batch = all_windows(replay, lanes, kept, unroll=unroll, n=n, lam=lam, correct=correct)
            assert_windows(batch, lanes, unroll, n, lam, correct)


def paper_target(lane, start, t, n, gamma):
    """z of a game of two in the view of whoever moves at t: what the other wins, it loses.

    z_t = Σ_i γ^i (± r_{t+i+1}) + γ^n (± ν_{t+n}), the sign by the mover there against the mover at t.
    """
    last, mover = end_of(lane, start), lane[t].to_play
    z, i = 0.0, t
    while i < min(t + n, last):
        sign = 1 if lane[i].to_play == mover else -1
        z += gamma ** (i - t) * sign * lane[i].reward[lane[i].to_play]
        if lane[i].terminated:
            return z
        i += 1
    sign = 1 if lane[i].to_play == mover else -1
    return z + gamma ** (i - t) * sign * lane[i].value[lane[i].to_play]


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), unroll=st.integers(0, 5), n=st.integers(1, 8))
def test_in_the_movers_view_the_value_target_of_a_game_is_the_papers_with_its_signs(seed, unroll, n):
    lanes = random_lanes(np.random.default_rng(seed), 2, 30, 2, 3, end=0.15, unsearched=0.0)
    for row in itertools.chain(*lanes):
        row.reward, row.value = (np.array([x[0], -x[0]]) for x in (row.reward, row.value))
    if not starts_of(lanes, 20):
        return
    batch = all_windows(filled(lanes, spec_of(2), 40), lanes, 20, unroll=unroll, n=n)
    for b, index in enumerate(batch.index):
        lane, start = lanes[index % 2], index // 2
        for k in range(min(unroll + 1, end_of(lane, start) - start)):
            own = batch.value_target[b, k, batch.to_play[b, k]]
            np.testing.assert_allclose(own, paper_target(lane, start, start + k, n, 0.9), rtol=1e-5, atol=1e-6)


class Diary:
    """Plays episodes of chance for two, and writes down every step as it happens."""

    spec = spec_of(2)

    def __init__(self):
        self.days = []  # one entry a step: what was shown, who moved, and what the action caused

    def _show(self, reward, terminated=False, truncated=False):
        observation, legal = self.rng.normal(size=3).astype(np.float32), self.rng.random(3) < 0.7
        legal[self.rng.integers(3)] = True
        self.now = TimeStep(observation, reward, terminated, truncated, int(self.rng.integers(2)), legal)
        return self.now

    def reset(self, seed):
        self.rng = np.random.default_rng(seed)
        return self._show(np.zeros(2, np.float32))

    def step(self, action):
        shown, ends = self.now, self.rng.random()
        now = self._show(self.rng.normal(size=2).astype(np.float32), ends < 0.15, 0.15 <= ends < 0.3)
        self.days.append((shown, action, now))
        return now

    def close(self):
        pass


def as_lane(diary, plans):
    """The diary as reference rows: a row for each step, and one more where an episode ended."""
    rows, plans = [], iter(plans)
    for shown, action, now in diary.days:
        policy, value = next(plans)
        legal = shown.legal
        rows.append(
            Row(
                shown.observation,
                action,
                now.reward,
                now.terminated,
                now.truncated,
                False,
                shown.to_play,
                legal,
                policy,
                value,
            )
        )
        if (now.terminated or now.truncated) and (plan := next(plans, None)) is not None:
            legal = np.ones(3, bool) if now.terminated else now.legal
            last = Row(now.observation, 0, np.zeros(2), False, False, True, now.to_play, legal, *plan)
            rows.append(last)
    return rows


@pytest.mark.parametrize("seed", range(5))
def test_what_was_played_and_searched_again_is_what_is_trained_on(seed):
    """Environment, rollout, replay, fresh targets and eviction in one, against the environments' own diaries."""
    rng, lanes, capacity, turns = np.random.default_rng(seed), 3, 12, 40
    rollout = Rollout(Diary, lanes, seed)
    replay = Replay(rollout.spec, ReplayConfig(max_steps=capacity * lanes), lanes, seed)
    plans, searched, dropped = [[] for _ in range(lanes)], [], 0
    for _ in range(turns):
        policy = rng.dirichlet(np.ones(3), lanes).astype(np.float32)
        value = rng.normal(size=(lanes, 2)).astype(np.float32)
        action = np.array([rng.choice(np.flatnonzero(legal)) for legal in rollout.legal], np.int32)
        for lane, plan in zip(plans, zip(policy, value, strict=True), strict=True):
            lane.append(plan)
        replay.add(np.arange(lanes), rollout.step(Plan(action, policy, value))[0])
        fresh = replay.positions(4), rng.dirichlet(np.ones(3), 4), rng.normal(size=(4, 2))
        searched.append(fresh)
        if len(searched) > 6:  # a search takes its time; meanwhile its row may be evicted
            index, policy, value = searched.pop(0)
            written = replay.write_targets(index, policy, value)
            for i, plan in zip(index, zip(policy, value, strict=True), strict=True):
                plans[i % lanes][i // lanes] = plan
            dropped += len(index) - written
    assert dropped > 0
    diaries = [as_lane(env, p) for env, p in zip(rollout.envs, plans, strict=True)]
    assert [len(lane) for lane in diaries] == [turns] * lanes
    for lam, correct in ((1.0, False), (0.7, True)):
        batch = all_windows(replay, diaries, capacity, unroll=4, n=3, lam=lam, correct=correct)
        assert_windows(batch, diaries, 4, 3, lam, correct)
