"""What was done is shown beside what the environment shows, to a user's agent as to the network in training."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import muzen
from muzen.agent import Agent, Planner
from muzen.config import Config, override
from muzen.envs import GymnasiumEnvironment, make, one_hot_past, spec_of
from muzen.errors import ConfigError, EnvError
from muzen.search import Gumbel


class Blank(gymnasium.Env):
    """Shows nothing but a constant, for five steps."""

    def __init__(self, observation_space=None, start=0):
        self.observation_space = observation_space or spaces.Box(0, 1, (1, 2))
        self.action_space = spaces.Discrete(3, start=start)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._shown(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.steps += 1
        return self._shown(), 0.0, self.steps == 5, False, {}

    def _shown(self):
        return 5 if isinstance(self.observation_space, spaces.Discrete) else np.full((1, 2), 0.5, np.float32)


def test_the_newest_action_comes_first_and_what_was_before_the_episode_is_zero():
    np.testing.assert_array_equal(one_hot_past([], 2, 3), np.zeros(6))
    assert one_hot_past([1], 0, 3).shape == (0,)
    np.testing.assert_array_equal(one_hot_past([2], 2, 3), [0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(one_hot_past([2, 0], 2, 3), [1, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(one_hot_past([2, 0, 1], 2, 3), [0, 1, 0, 1, 0, 0])


@pytest.mark.parametrize("start", [0, 7])
def test_every_observation_ends_with_the_last_actions_of_its_own_episode(start):
    env = GymnasiumEnvironment(Blank(start=start), "Blank", past_actions=2)
    assert env.spec.observation_shape == (2 + 2 * 3,)
    assert env.spec.past_actions == 2
    np.testing.assert_array_equal(env.reset(0).observation, [0.5, 0.5, 0, 0, 0, 0, 0, 0])
    done = [1, 2, 0, 0, 1]
    for steps, action in enumerate(done, 1):
        seen = env.step(action).observation
        np.testing.assert_array_equal(seen, [0.5, 0.5, *one_hot_past(done[:steps], 2, 3)])
    np.testing.assert_array_equal(env.reset(1).observation, [0.5, 0.5, 0, 0, 0, 0, 0, 0])


def test_a_discrete_observation_is_one_hot_beside_them():
    env = GymnasiumEnvironment(Blank(spaces.Discrete(3, start=4)), "Blank", past_actions=1)
    assert env.reset(0).observation.tolist() == [0, 1, 0, 0, 0, 0]
    assert env.step(2).observation.tolist() == [0, 1, 0, 0, 0, 1]


class Shown:
    """A planner that keeps what it was shown."""

    def __init__(self):
        self.planner = Planner(Gumbel(), 1)

    def search(self, model, observation, *args, **options):
        self.observation = observation
        raise StopIteration


def shown(env, *args, **options):
    agent = Agent(None, Shown(), env.spec)
    with pytest.raises(StopIteration):
        agent.search(*args, **options)
    return agent.planner.observation[0]


@pytest.mark.parametrize("space", [None, spaces.Discrete(3, start=4)])
def test_a_users_agent_sees_what_the_network_saw_in_training(space):
    env = GymnasiumEnvironment(Blank(space), "Blank", past_actions=2)
    raw = np.full((1, 2), 0.5) if space is None else 1
    np.testing.assert_array_equal(shown(env, raw, past=[]), env.reset(0).observation)
    past = []
    for action in (1, 2, 0):
        seen = env.step(action).observation
        past.append(action)
        np.testing.assert_array_equal(shown(env, raw, past=past), seen)
        np.testing.assert_array_equal(shown(env, seen), seen)


def test_an_agent_that_needs_them_says_so():
    agent = Agent(None, Shown(), GymnasiumEnvironment(Blank(), "Blank", past_actions=2).spec)
    with pytest.raises(EnvError, match="its last 2 actions: pass past=actions"):
        agent.act([0.5, 0.5])
    for wrong in (3, -1, 1.0, "1"):
        with pytest.raises(EnvError, match=rf"past: entry 1, {wrong!r}, is no action; actions are 0..2"):
            agent.act([0.5, 0.5], past=[0, wrong])
    for wrong in (1, np.array(1)):
        with pytest.raises(EnvError, match=r"past: .*1.* is no list of actions"):
            agent.act([0.5, 0.5], past=wrong)
    with pytest.raises(EnvError, match=r"shape \(3,\) does not fit Blank, whose observations have shape \(2,\)"):
        agent.act([0.5, 0.5, 0.5], past=[0])


def test_a_game_refuses_them_and_leaves_no_folder(tmp_path):
    with pytest.raises(ConfigError, match=r"network\.past_actions: 2, but .*tic_tac_toe is no Gymnasium environment"):
        make("openspiel:tic_tac_toe", past_actions=2)
    with pytest.raises(ConfigError, match=r"network\.past_actions"):
        muzen.train("openspiel:tic_tac_toe", out=tmp_path / "run", network__past_actions=2)
    assert not (tmp_path / "run").exists()


def test_a_check_refuses_what_training_refuses_and_says_what_is_seen():
    def report(env, past):
        return muzen.check(env, override(Config("mine"), {"network.past_actions": past}), steps=40)

    refused = report("openspiel:tic_tac_toe", 2)
    assert not refused.ok and "network.past_actions: 2, but openspiel:tic_tac_toe" in "\n".join(refused)
    assert report("openspiel:tic_tac_toe", 0).ok
    assert "4 numbers, normalised; beside them the last action, one-hot" in "\n".join(report("CartPole-v1", 1))
    assert "4 numbers, normalised; beside them the last 8 actions, one-hot" in "\n".join(report("CartPole-v1", 8))


@pytest.mark.parametrize("wrong", [-1, 1001, 2**70, 1.5])
def test_no_other_number_of_them_is_taken(wrong):
    with pytest.raises(ConfigError, match=r"network\.past_actions"):
        override(Config("CartPole-v1"), {"network.past_actions": wrong})


def test_fewer_than_none_of_them_are_refused_where_an_environment_is_made():
    with pytest.raises(ConfigError, match=r"network\.past_actions: -1 is below 0"):
        make("CartPole-v1", past_actions=-1)


def test_an_environment_that_shows_them_itself_is_taken_as_it_is():
    def shows() -> GymnasiumEnvironment:
        return GymnasiumEnvironment(Blank(), "Blank", past_actions=2)

    assert make(shows).spec == make(shows, past_actions=2).spec
    with pytest.raises(ConfigError, match=r"network\.past_actions: 3"):
        make(shows, past_actions=3)


@pytest.mark.slow
def test_a_run_trains_evaluates_resumes_is_diagnosed_and_filmed_with_them(tmp_path):
    steps = {"env_steps": 300, "act__random_steps": 40, "evaluate__episodes": 2, "network__past_actions": 3}
    run = muzen.train("CartPole-v1", out=tmp_path / "run", learn__samples_per_step=2.0, **steps)
    assert run.agent().spec.observation_shape == (4 + 3 * 2,)
    assert muzen.resume(run.folder, env_steps=340).evaluation["env_steps_trained"] >= 340
    assert muzen.evaluate(run.folder, episodes=2)["episodes"] == 2
    assert "unrolled" in "\n".join(muzen.diagnose(run.folder, episodes=1).lines())
    assert muzen.record(run.folder, max_steps=2).stat().st_size > 0
    assert spec_of("CartPole-v1").past_actions == 0
