"""The rollout: rows, final rows, seeds, and standing where it stood before."""

from __future__ import annotations

import numpy as np
import pytest

from muzen.actors.rollout import Plan, Rollout
from muzen.errors import EnvError
from muzen.types import EnvSpec, TimeStep

LENGTH = 4


class Counter:
    """Shows (its seed, the step); ends by rule after LENGTH steps, or by time limit where action 1 was the last.

    Nothing is legal once it is over.
    """

    spec = EnvSpec("counter", (2,), "float64", 2)
    seeds: list[int]

    def __init__(self) -> None:
        self.seeds = []

    def _now(self, reward: float, action: int | None) -> TimeStep:
        over = self.step_count == LENGTH
        terminated, truncated = over and action == 0, over and action == 1
        observation = np.array([self.seed, self.step_count], float)
        return TimeStep(observation, np.array([reward], np.float32), terminated, truncated, 0, np.full(2, not over))

    def reset(self, seed: int) -> TimeStep:
        self.seed, self.step_count = seed, 0
        self.seeds.append(seed)
        return self._now(0.0, None)

    def step(self, action: int) -> TimeStep:
        assert self.step_count < LENGTH, "stepped past the end"
        self.step_count += 1
        return self._now(10.0 * self.step_count + action, action)

    def close(self) -> None:
        pass


def plan(action: list[int]) -> Plan:
    size = len(action)
    return Plan(np.array(action, np.int32), np.full((size, 2), 0.5, np.float32), np.ones((size, 1), np.float32))


def test_row_t_holds_the_reward_that_its_own_action_caused():
    rollout = Rollout(Counter, 2, seed=0)
    before = rollout.observation
    rows, steps, _ = rollout.step(plan([0, 1]))
    np.testing.assert_array_equal(rows.observation, before)
    np.testing.assert_array_equal(rows.reward[:, 0], [10, 11])
    assert steps == 2


def test_terminated_and_truncated_stay_apart():
    rollout = Rollout(Counter, 2, seed=0)
    for _ in range(LENGTH):
        rows, _, ended = rollout.step(plan([0, 1]))
    np.testing.assert_array_equal(rows.terminated, [True, False])
    np.testing.assert_array_equal(rows.truncated, [False, True])
    assert [episode.terminated for episode in ended] == [True, False]


def test_the_final_row_holds_the_last_observation_and_not_the_reset_one():
    rollout = Rollout(Counter, 1, seed=0)
    for _ in range(LENGTH):
        rollout.step(plan([1]))
    rows, steps, ended = rollout.step(plan([1]))
    assert rows.final[0] and steps == 0 and not ended
    assert rows.observation[0, 1] == LENGTH
    rows, steps, _ = rollout.step(plan([1]))
    assert not rows.final[0] and steps == 1
    assert rows.observation[0, 1] == 0


def test_episode_return_and_length_are_those_of_one_episode():
    rollout = Rollout(Counter, 1, seed=0)
    ends = [e for _ in range(3 * (LENGTH + 1)) for e in rollout.step(plan([0]))[2]]
    assert [e.length for e in ends] == [LENGTH] * 3
    assert [float(e.episode_return[0]) for e in ends] == [100.0] * 3
    assert len({e.episode for e in ends}) == 3


def test_every_episode_of_every_environment_and_worker_has_its_own_seed():
    seeds = []
    for worker in range(2):
        rollout = Rollout(Counter, 3, seed=5, worker=worker)
        for _ in range(2 * (LENGTH + 1)):
            rollout.step(plan([0, 0, 0]))
        seeds += [seed for env in rollout.envs for seed in env.seeds]
    assert len(seeds) == len(set(seeds)) == 2 * 3 * 3


def test_another_run_seed_gives_other_episodes():
    seeds = [Rollout(Counter, 3, seed=run).observation[:, 0].tolist() for run in (5, 6)]
    assert not set(seeds[0]) & set(seeds[1])


def test_an_episode_that_is_over_is_never_searched_without_a_legal_action():
    rollout = Rollout(Counter, 2, seed=0)
    for _ in range(LENGTH):
        rollout.step(plan([0, 1]))
    assert rollout.legal.all()


def test_a_restored_rollout_goes_on_as_if_nothing_had_happened():
    first, second = Rollout(Counter, 2, seed=3), Rollout(Counter, 2, seed=3)
    for _ in range(LENGTH + 3):
        first.step(plan([0, 1]))
    assert second.restore(first.state()) == {}
    for _ in range(2 * LENGTH):
        a, b = first.step(plan([1, 0])), second.step(plan([1, 0]))
        for x, y in zip(a[0], b[0], strict=True):
            np.testing.assert_array_equal(x, y)
        assert [(e.episode, e.length, float(e.episode_return[0])) for e in a[2]] == [
            (e.episode, e.length, float(e.episode_return[0])) for e in b[2]
        ]


def test_restoring_tells_which_environment_no_longer_follows_its_seed():
    rollout = Rollout(Counter, 1, seed=0)
    state = {"episode": [0], "actions": [[0] * (LENGTH + 2)]}
    assert "environment 0 ended after 4 of 6" in rollout.restore(state)[0]


def test_an_environment_that_refuses_a_stored_action_is_told_and_not_fatal(monkeypatch):
    rollout = Rollout(Counter, 2, seed=0)

    def refuse(action):
        raise ValueError("illegal now")

    monkeypatch.setattr(rollout.envs[1], "step", refuse)
    broken = rollout.restore({"episode": [0, 0], "actions": [[0], [0]]})
    assert list(broken) == [1] and "environment 1 refused stored action 0: ValueError('illegal now')" in broken[1]


def test_restoring_another_number_of_environments_is_refused():
    with pytest.raises(EnvError, match=r"act\.environments: the run has 1, asked for 2"):
        Rollout(Counter, 2, seed=0).restore({"episode": [0], "actions": [[]]})


def openings(share: float, moves: int, seed: int = 1, episodes: int = 60) -> list[int]:
    """How many moves of each episode were not the plan's, which always takes action 1."""
    rollout = Rollout(Counter, 1, seed, random_openings=share, opening_moves=moves)
    found: list[int] = []
    actions: list[int] = []
    while len(found) < episodes:
        rows, _, _ = rollout.step(plan([1]))
        if rows.final[0]:
            found.append(max((i + 1 for i, a in enumerate(actions) if a == 0), default=0))
            actions = []
        else:
            actions.append(int(rows.action[0]))
    return found


def test_a_share_of_episodes_begins_with_random_moves_and_the_others_do_not():
    assert max(openings(0.0, 3)) == max(openings(1.0, 0)) == 0
    always, half = openings(1.0, 3), openings(0.5, 3)
    assert max(always) == 3 and sum(x > 0 for x in always) > sum(x > 0 for x in half) > 5
    assert openings(1.0, 3) == always and openings(1.0, 3, seed=2) != always


def test_a_random_opening_takes_only_legal_moves():
    class OnlyOne(Counter):
        def _now(self, reward: float, action: int | None) -> TimeStep:
            now = super()._now(reward, action)
            return now._replace(legal=now.legal & np.array([False, True]))

    rollout = Rollout(OnlyOne, 20, seed=3, random_openings=1.0, opening_moves=3)
    for _ in range(3):
        rows, _, _ = rollout.step(plan([1] * 20))
        np.testing.assert_array_equal(rows.action, 1)


def test_a_restored_rollout_finishes_the_opening_that_it_was_in():
    first = Rollout(Counter, 4, seed=3, random_openings=1.0, opening_moves=3)
    second = Rollout(Counter, 4, seed=3, random_openings=1.0, opening_moves=3)
    first.step(plan([1] * 4))
    assert second.restore(first.state()) == {}
    np.testing.assert_array_equal(first.moves, second.moves)
    for _ in range(LENGTH):
        np.testing.assert_array_equal(first.step(plan([1] * 4))[0].action, second.step(plan([1] * 4))[0].action)
