import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from muzen.envs import GymnasiumEnvironment, make
from muzen.errors import EnvError, UnsupportedSpaceError


class Corridor(gymnasium.Env):
    """Position 0..4, left and right; terminates at 4. What it returns can be replaced, to break it."""

    def __init__(self, observation_space=None, action_space=None, **broken):
        self.observation_space = observation_space or spaces.Box(0, 4, (1,), np.float64)
        self.action_space = action_space or spaces.Discrete(2)
        self.broken = broken

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = 0
        return self._observe(), dict(self.broken.get("info", {}))

    def step(self, action):
        assert self.action_space.contains(action)
        self.position = max(0, self.position + (1 if action == self.action_space.start + 1 else -1))
        reward = self.broken.get("reward", float(self.position))
        return self._observe(), reward, self.position == 4, False, dict(self.broken.get("info", {}))

    def _observe(self):
        if self.position > 0 and "observation" in self.broken:
            return self.broken["observation"]
        if isinstance(self.observation_space, spaces.Discrete):
            return int(self.observation_space.start) + self.position
        return np.full(self.observation_space.shape, self.position, self.observation_space.dtype)


def adapted(*args, **kwargs):
    return GymnasiumEnvironment(Corridor(*args, **kwargs), "Corridor")


def test_a_time_limit_truncates_and_does_not_terminate():
    env = GymnasiumEnvironment(gymnasium.wrappers.TimeLimit(Corridor(), 3), "Corridor")
    env.reset(0)
    steps = [env.step(0) for _ in range(3)]
    assert [step.truncated for step in steps] == [False, False, True]
    assert not any(step.terminated for step in steps)
    assert env.spec.max_episode_steps == 3


def test_a_time_limit_on_the_terminal_step_counts_as_termination_alone():
    env = GymnasiumEnvironment(gymnasium.wrappers.TimeLimit(Corridor(), 4), "Corridor")
    env.reset(0)
    last = [env.step(1) for _ in range(4)][-1]
    assert last.terminated
    assert not last.truncated


def test_the_final_observation_is_that_of_the_episode_that_ended():
    env = adapted()
    env.reset(0)
    last = [env.step(1) for _ in range(4)][-1]
    assert last.terminated
    np.testing.assert_array_equal(last.observation, [4])


def test_cartpole_keeps_its_own_time_limit_and_spaces():
    spec = make("CartPole-v1").spec
    assert (spec.observation_shape, spec.num_actions, spec.max_episode_steps) == ((4,), 2, 500)
    assert spec.observation_dtype == "float32"
    assert spec.always_legal
    assert not spec.discrete_observation


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float64])
def test_box_observations_of_any_shape_and_dtype_become_float32_vectors(dtype):
    env = adapted(spaces.Box(0, 4, (2, 3), dtype))
    env.reset(0)
    observation = env.step(1).observation
    assert env.spec.observation_shape == (6,)
    assert observation.dtype == np.float32
    np.testing.assert_array_equal(observation, np.ones(6))


@pytest.mark.parametrize("start", [-3, 0, 7])
def test_discrete_observations_are_one_hot_from_their_start(start):
    env = adapted(spaces.Discrete(5, start=start))
    assert env.spec.observation_shape == (5,)
    assert env.spec.discrete_observation
    np.testing.assert_array_equal(env.reset(0).observation, [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(env.step(1).observation, [0, 1, 0, 0, 0])


@pytest.mark.parametrize("start", [-3, 0, 7])
def test_actions_are_counted_from_zero_whatever_the_start(start):
    env = adapted(action_space=spaces.Discrete(2, start=start))
    env.reset(0)
    np.testing.assert_array_equal(env.step(1).observation, [1])
    np.testing.assert_array_equal(env.step(0).observation, [0])


def test_an_action_is_taken_once_and_as_given():
    env = adapted()
    env.reset(0)
    assert [int(env.step(action).observation[0]) for action in (1, 0, 1)] == [1, 0, 1]


@pytest.mark.parametrize("reward", [2, 2.0, np.float64(2), np.array(2), np.array([2.0]), True + True])
def test_rewards_of_any_number_type_become_one_float32(reward):
    env = adapted(reward=reward)
    assert env.reset(0).reward.tolist() == [0]
    step = env.step(1)
    assert step.reward.dtype == np.float32
    assert step.reward.tolist() == [2]


def test_an_observation_array_that_the_environment_reuses_is_copied():
    class Reuses(Corridor):
        array = np.zeros(1)

        def _observe(self):
            self.array[:] = self.position
            return self.array

    env = GymnasiumEnvironment(Reuses(), "Reuses")
    first = env.reset(0).observation
    env.step(1)
    np.testing.assert_array_equal(first, [0])


def test_one_seed_gives_one_trajectory():
    def trajectory(seed):
        env = make("CartPole-v1")
        return [env.reset(seed).observation] + [env.step(t % 2).observation for t in range(5)]

    np.testing.assert_array_equal(trajectory(3), trajectory(3))
    assert not np.array_equal(trajectory(3), trajectory(4))


def test_a_mask_in_info_says_what_is_legal():
    env = adapted(action_space=spaces.Discrete(3), info={"action_mask": np.array([1, 0, 1], np.int8)})
    assert not env.spec.always_legal
    assert env.reset(0).legal.tolist() == [True, False, True]
    assert env.step(1).legal.tolist() == [True, False, True]


class Forgetful(Corridor):
    """Gives a mask at `first` of reset (0) and the steps after it, and never else."""

    def __init__(self, told):
        super().__init__()
        self.told = told

    def reset(self, **options):
        self.t = 0
        return super().reset(**options)[0], self.mask()

    def step(self, action):
        self.t += 1
        return *super().step(action)[:4], self.mask()

    def mask(self):
        return {"action_mask": [0, 1]} if self.t in self.told else {}


def test_a_mask_that_is_given_now_and_then_is_an_error_that_says_when_to_give_it():
    with pytest.raises(EnvError, match=r"no mask of legal actions after 2 steps.*every step"):
        [env := GymnasiumEnvironment(Forgetful([0, 1]), "F"), env.reset(0), env.step(1), env.step(1)]
    with pytest.raises(EnvError, match=r"a mask of legal actions after 1 steps.*though reset\(\) gave none"):
        [env := GymnasiumEnvironment(Forgetful([1, 2]), "F"), env.reset(0), env.step(1)]
    env = GymnasiumEnvironment(Forgetful([0, 1, 2, 3]), "F")  # none is wanted of the end
    env.reset(0)
    assert [env.step(1).terminated for _ in range(4)] == [False, False, False, True]


def test_a_mask_from_a_method_says_what_is_legal_through_wrappers():
    class Masked(Corridor):
        def action_masks(self):
            return [self.position > 0, True]

    env = GymnasiumEnvironment(gymnasium.wrappers.TimeLimit(Masked(), 10), "Masked")
    assert not env.spec.always_legal
    assert env.reset(0).legal.tolist() == [False, True]
    assert env.step(1).legal.tolist() == [True, True]


def test_without_a_mask_every_action_is_legal():
    assert adapted().reset(0).legal.tolist() == [True, True]


def test_no_legal_action_in_an_ongoing_episode_is_an_error_that_says_so():
    with pytest.raises(EnvError, match=r"no action is legal after 0 steps.*terminated=True"):
        adapted(info={"action_mask": [0, 0]}).reset(5)


def test_a_mask_of_the_wrong_length_is_an_error():
    with pytest.raises(EnvError, match="3 entries for 2 actions"):
        adapted(info={"action_mask": [1, 1, 1]}).reset(0)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"observation": np.array([np.nan])}, r"holds nan at index 0.*nan_to_num"),
        ({"observation": np.array([np.inf])}, r"holds inf at index 0"),
        ({"observation": np.zeros(3)}, r"shape \(3,\), but observation_space has \(1,\)"),
        ({"observation": {"x": 1}}, r"no array of numbers but dict"),
        ({"reward": np.nan}, r"reward after 1 steps of the episode with seed 11 is nan"),
        ({"reward": -np.inf}, r"reward .* is -inf"),
        ({"reward": None}, r"finite number"),
        ({"reward": np.zeros(2)}, r"must be one number"),
    ],
)
def test_what_cannot_be_learned_from_is_an_error_that_says_where(broken, message):
    env = adapted(**broken)
    env.reset(11)
    with pytest.raises(EnvError, match=message):
        env.step(1)


@pytest.mark.parametrize("observation", [9, -1, "here"])
def test_a_discrete_observation_outside_its_space_is_an_error(observation):
    env = adapted(spaces.Discrete(5), observation=observation)
    env.reset(0)
    with pytest.raises(EnvError, match=r"Discrete\(5\)"):
        env.step(1)


def test_the_four_values_of_old_gym_are_explained():
    class Old(Corridor):
        def step(self, action):
            return super().step(action)[:4]

    env = GymnasiumEnvironment(Old(), "Old")
    env.reset(0)
    with pytest.raises(EnvError, match=r"a tuple of 4 values.*five values.*old Gym"):
        env.step(0)


def test_a_reset_without_a_seed_is_explained():
    class Unseeded(Corridor):
        def reset(self):
            return np.zeros(1), {}

    with pytest.raises(EnvError, match="takes no seed"):
        GymnasiumEnvironment(Unseeded(), "Unseeded")


def test_a_reset_that_gives_only_the_observation_is_explained():
    class Bare(Corridor):
        def reset(self, *, seed=None, options=None):
            return np.zeros(1)

    with pytest.raises(EnvError, match="reset returns two: observation, info"):
        GymnasiumEnvironment(Bare(), "Bare")


def test_stepping_an_episode_that_is_over_is_an_error():
    env = adapted()
    with pytest.raises(EnvError, match=r"call reset\(seed\)"):
        env.step(0)
    env.reset(0)
    for _ in range(4):
        env.step(1)
    with pytest.raises(EnvError, match=r"call reset\(seed\)"):
        env.step(1)


@pytest.mark.parametrize("action", [-1, 2])
def test_an_action_out_of_range_is_an_error(action):
    env = adapted()
    env.reset(0)
    with pytest.raises(EnvError, match=r"outside 0\.\.1"):
        env.step(action)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Box(-1, 1, (2,)), r"Box\(shape=\(2,\), dtype=float32\).*Continuous actions are not supported yet"),
        (spaces.MultiDiscrete([2, 3]), r"MultiDiscrete\(\[2 3\]\).*Number the combinations"),
    ],
)
def test_an_unsupported_action_space_is_named_with_a_way_out(space, message):
    with pytest.raises(UnsupportedSpaceError, match=message):
        adapted(action_space=space)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Dict(a=spaces.Discrete(2)), r"Dict.*FlattenObservation"),
        (spaces.Tuple((spaces.Discrete(2), spaces.Discrete(3))), r"Tuple.*FlattenObservation"),
        (spaces.Sequence(spaces.Discrete(2)), r"Sequence.*one vector of numbers"),
        (spaces.Box(0, 255, (84, 84, 3), np.uint8), r"21168 numbers.*Images are not supported yet"),
        (spaces.Box(0, 1, (0,)), r"0 numbers.*at least one"),
    ],
)
def test_an_unsupported_observation_space_is_named_with_a_way_out(space, message):
    with pytest.raises(UnsupportedSpaceError, match=message):
        adapted(observation_space=space)


@pytest.mark.parametrize(
    ("last", "limit", "legal"),
    [
        ([True, False], 2, [True, False]),
        ([False, False], 2, [True, True]),  # nobody says how it would have gone on
        ([False, False], 4, [True, True]),  # it would not have gone on
    ],
)
def test_a_mask_still_holds_where_time_is_up(last, limit, legal):
    """A cut episode would have gone on with these actions: its last position is searched for what it is worth."""

    class Masked(Corridor):
        def action_masks(self):
            return last if self.position == limit else [True, True]

    env = GymnasiumEnvironment(gymnasium.wrappers.TimeLimit(Masked(), limit), "Masked")
    env.reset(0)
    end = [env.step(1) for _ in range(limit)][-1]
    assert (end.terminated, end.truncated) == (limit == 4, limit == 2)
    assert end.legal.tolist() == legal
