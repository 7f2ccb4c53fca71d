"""Evaluation: every episode counted once, its seed its own, an honest interval."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from muzen.actors.rollout import Plan
from muzen.agent import Agent
from muzen.evaluate import LANES, confidence_interval, evaluate
from muzen.summary import returns
from muzen.types import EnvSpec, TimeStep


class SeededLength:
    """Ends after 1 + seed % 7 steps, each worth 1; nothing is legal then."""

    spec = EnvSpec("seeded", (1,), "float32", 2)
    seeds: ClassVar[list[int]] = []

    def _now(self, reward: float) -> TimeStep:
        over = self.t == self.length
        return TimeStep(np.zeros(1, np.float32), np.array([reward], np.float32), over, False, 0, np.full(2, not over))

    def reset(self, seed: int) -> TimeStep:
        self.seeds.append(seed)
        self.t, self.length = 0, 1 + seed % 7
        return self._now(0.0)

    def step(self, action: int) -> TimeStep:
        assert self.t < self.length
        self.t += 1
        return self._now(1.0)

    def close(self) -> None:
        pass


class FixedPlanner:
    simulations = 3
    explored, stuck = False, False

    def plan(
        self, model, observation, legal, to_play, key, *, states=None, previous=None, explore=False, temperature=1.0
    ):
        self.explored |= explore
        self.stuck |= not legal.any(-1).all()
        size = len(observation)
        return Plan(np.zeros(size, np.int32), np.full((size, 2), 0.5), np.zeros((size, 3)))


def play(episodes: int, seed: int, planner: FixedPlanner | None = None) -> dict:
    agent = Agent(None, planner or FixedPlanner(), SeededLength.spec, env_steps=17)  # type: ignore[arg-type]
    return evaluate(agent, SeededLength, episodes=episodes, seed=seed)


def test_evaluation_plays_without_noise():
    planner = FixedPlanner()
    play(5, seed=4, planner=planner)
    assert not planner.explored


def test_an_episode_that_is_over_is_never_searched_without_a_legal_action():
    planner = FixedPlanner()
    play(LANES, seed=4, planner=planner)
    assert not planner.stuck


def test_every_evaluation_episode_has_a_seed_of_its_own():
    SeededLength.seeds.clear()
    play(3 * LANES, seed=4)
    assert len(set(SeededLength.seeds)) == len(SeededLength.seeds) == 3 * LANES


@pytest.mark.parametrize("episodes", [1, 5, LANES, 3 * LANES + 1])
def test_every_episode_is_counted_once(episodes):
    result = play(episodes, seed=4)
    assert len(result["returns"]) == episodes
    assert result["returns"] == result["lengths"]
    assert min(result["returns"]) >= 1
    assert result["mean_return"] == pytest.approx(np.mean(result["returns"]))
    assert result["env_steps_trained"] == 17


def test_an_episode_does_not_depend_on_how_many_others_there_are():
    assert play(3 * LANES, seed=4)["returns"][:5] == play(5, seed=4)["returns"]


def test_another_seed_gives_other_episodes():
    assert play(50, seed=4)["returns"] != play(50, seed=5)["returns"]


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(200):
        low, high = confidence_interval(rng.normal(3.0, 2.0, 100), resamples=1000)
        covered.append(low <= 3.0 <= high)
    assert 0.89 <= np.mean(covered) <= 0.99


def test_the_interval_of_equal_returns_is_a_point():
    assert confidence_interval(np.full(10, 500.0)) == (500.0, 500.0)


class Endless(SeededLength):
    """Never ends by itself."""

    def reset(self, seed: int) -> TimeStep:
        self.t, self.length = 0, 10**9
        return self._now(0.0)


def test_an_episode_that_never_ends_is_cut_off_and_counted():
    agent = Agent(None, FixedPlanner(), Endless.spec, max_steps=9)  # type: ignore[arg-type]
    for max_steps, length in ((None, 9.0), (4, 4.0)):
        result = evaluate(agent, Endless, episodes=40, seed=0, max_steps=max_steps)
        assert result["returns"] == [length] * 40
        assert result["cut"] == 40


class CountUp:
    """Three players add 1 or 2 in turn; whoever ends at 9 or above takes 1 from each of the others."""

    spec = EnvSpec("count", (1,), "float32", 2, players=3, zero_sum=False)

    def _now(self, reward: list[float]) -> TimeStep:
        over, observation = self.count >= 9, np.array([self.count], np.float32)
        return TimeStep(observation, np.array(reward, np.float32), over, False, self.player, np.ones(2, bool))

    def reset(self, seed: int) -> TimeStep:
        self.count, self.player = 0, 0
        return self._now([0, 0, 0])

    def step(self, action: int) -> TimeStep:
        self.count += 1 + action
        reward = [0.0, 0.0, 0.0]
        if self.count >= 9:
            reward = [-1.0, -1.0, -1.0]
            reward[self.player] = 2.0
        self.player = (self.player + 1) % 3
        return self._now(reward)

    def close(self) -> None:
        pass


def test_in_a_game_the_agent_has_every_seat_in_turn_against_random_opponents():
    asked = []

    class Watching(FixedPlanner):
        def plan(self, model, observation, legal, to_play, key, **options):
            asked.append(np.array(to_play))
            return super().plan(model, observation, legal, to_play, key, **options)

    agent = Agent(None, Watching(), CountUp.spec)  # type: ignore[arg-type]
    result = evaluate(agent, CountUp, episodes=LANES + 4, seed=3)
    np.testing.assert_array_equal(asked[0], np.arange(LANES) % 3)  # it waits for its own turn
    assert [seat["episodes"] for seat in result["seats"]] == [12, 12, 12]
    for seat in result["seats"]:
        assert seat["win"] + seat["draw"] + seat["loss"] == 12
        own = result["returns"][seat["seat"] :: 3]
        assert seat["win"] == sum(x == 2 for x in own) and seat["mean_return"] == pytest.approx(np.mean(own))
    assert result["opponent"] == "random" and 0 < sum(s["win"] for s in result["seats"]) < LANES + 4
    again = evaluate(agent, CountUp, episodes=LANES + 4, seed=3)
    assert again == result
    assert evaluate(agent, CountUp, episodes=LANES + 4, seed=4)["lengths"] != result["lengths"]


def test_random_opponents_take_only_legal_moves():
    moves = []

    class ByTwo(CountUp):
        def _now(self, reward: list[float]) -> TimeStep:
            return super()._now(reward)._replace(legal=np.array([self.player == 0, True]))

        def step(self, action: int) -> TimeStep:
            moves.append((self.player, action))
            return super().step(action)

    agent = Agent(None, FixedPlanner(), ByTwo.spec)  # type: ignore[arg-type]
    evaluate(agent, ByTwo, episodes=1, seed=3)
    assert {action for player, action in moves if player > 0} == {1}


def test_the_summary_of_a_game_says_what_its_number_is():
    agent = Agent(None, FixedPlanner(), CountUp.spec)  # type: ignore[arg-type]
    said = returns(evaluate(agent, CountUp, episodes=6, seed=0))
    assert said.startswith("against random opponents over 6 games: ")
    assert "lost as player 3; mean return" in said
