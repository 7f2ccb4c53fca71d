import json

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from muzen.check import Finding, check
from muzen.config import Config, EncodingConfig
from muzen.errors import UnknownEnvError


class Sound(gymnasium.Env):
    """A walk on -5..5 from a random start, +1 at the right end. Subclasses break one thing each."""

    observation_space = spaces.Box(-5, 5, (1,), np.float32)
    action_space = spaces.Discrete(2, start=1)
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = int(self.np_random.integers(-2, 3))
        return self.observe(), {}

    def step(self, action):
        self.position += 1 if action == 2 else -1
        ended = abs(self.position) == 5
        return self.observe(), float(self.position == 5), ended, False, {}

    def observe(self):
        return np.array([self.position], np.float32)


def limited(kind):
    """A factory, so that the environment can be made again."""
    return lambda: gymnasium.wrappers.TimeLimit(kind(), 100)


def finding(kind, name, **kwargs) -> Finding:
    found = [f for f in check(limited(kind), steps=400, **kwargs).findings if f.name == name]
    assert len(found) == 1, found
    return found[0]


def test_a_sound_environment_has_neither_errors_nor_warnings():
    report = check(limited(Sound), steps=400)
    assert report.ok
    assert {f.severity for f in report.findings} == {"ok"}, report.lines()
    assert "0 errors, 0 warnings" in report.lines()[0]


def test_the_report_says_what_muzen_would_use():
    text = "\n".join(check("CartPole-v1", steps=300))
    assert "the preset CartPole-v1" in text
    assert "4 numbers, normalised" in text
    assert "simulations over 2 actions" in text
    text = "\n".join(check("FrozenLake-v1", Config("FrozenLake-v1", env_steps=123), steps=300))
    assert "the settings given; 123 environment steps" in text
    assert "16 numbers, one-hot" in text


def test_the_report_is_json_too():
    read = json.loads(check(limited(Sound), steps=100).json())
    assert read["ok"] is True
    assert {"severity", "name", "text", "way_out"} == set(read["findings"][0])


def test_actions_that_do_not_begin_at_zero_are_explained():
    assert finding(Sound, "actions").text == "2 from 1 to 2; Muzen counts them from 0"


def test_an_unknown_environment_raises_with_the_nearest_name():
    with pytest.raises(UnknownEnvError, match="CartPole-v1"):
        check("cartpole")


def test_both_unsupported_spaces_are_told_at_once():
    class Both(Sound):
        observation_space = spaces.Dict(a=spaces.Discrete(2))  # pyright: ignore
        action_space = spaces.Box(-1, 1, (1,))  # pyright: ignore

    report = check(Both)
    assert not report.ok
    assert [f.severity for f in report.findings] == ["error", "error"]
    assert report.uses == ()


def test_nan_is_an_error():
    class Nan(Sound):
        def observe(self):
            return np.array([np.nan if self.position > 3 else self.position], np.float32)

    found = finding(Nan, "interface")
    assert found.severity == "error"
    assert "holds nan at index 0" in found.text


def test_an_exception_of_the_environment_is_an_error_with_its_words():
    class Raises(Sound):
        def step(self, action):
            raise KeyError("door")

    found = finding(Raises, "interface")
    assert found.severity == "error"
    assert "raised KeyError" in found.text


def test_an_observation_outside_its_space_is_a_warning_with_the_figures():
    class Outside(Sound):
        observation_space = spaces.Box(-1, 1, (1,), np.float32)

    found = finding(Outside, "bounds")
    assert found.severity == "warning"
    assert "at index 0 is outside -1 to 1" in found.text


def test_a_dtype_that_the_space_does_not_declare_is_a_warning():
    class Double(Sound):
        def observe(self):
            return np.array([self.position], np.float64)

    found = finding(Double, "dtype")
    assert found.severity == "warning"
    assert "float64 but their space says float32" in found.text


def test_an_observation_array_that_is_written_again_is_a_warning():
    class Rewrites(Sound):
        def __init__(self):
            self.array = np.zeros(1, np.float32)

        def observe(self):
            self.array[0] = self.position
            return self.array

    assert finding(Rewrites, "aliasing").severity == "warning"


def test_flags_that_are_not_booleans_are_a_warning():
    class Integers(Sound):
        def step(self, action):
            observation, reward, terminated, truncated, info = super().step(action)
            return observation, reward, int(terminated), truncated, info

    found = finding(Integers, "flags")
    assert found.severity == "warning"
    assert "int" in found.text


@pytest.mark.parametrize(
    ("scale", "offset", "severity", "words"),
    [
        (1.0, 0.0, "ok", "from 0 to 1"),
        (0.0, 0.0, "warning", "rewards were 0"),
        (1e6, 0.0, "warning", "from 0 to 1e+06"),
    ],
)
def test_the_scale_of_rewards_is_told(scale, offset, severity, words):
    class Scaled(Sound):
        def step(self, action):
            observation, reward, *rest = super().step(action)
            return observation, scale * reward + offset, *rest

    found = finding(Scaled, "rewards")
    assert found.severity == severity
    assert words in found.text


def test_rewards_beyond_the_limit_of_the_settings_are_a_warning():
    config = Config("x", reward=EncodingConfig(limit=0.5))
    found = finding(Sound, "rewards", config=config)
    assert found.severity == "warning"
    assert "reward.limit 0.5 of a unit of" in found.way_out and "which is smaller" in found.way_out


@pytest.mark.parametrize(("scale", "limit", "severity"), [(5.0, 2.0, "ok"), (0.01, 0.5, "warning")])
def test_the_limit_of_rewards_is_counted_in_their_root_mean_square(scale, limit, severity):
    class Scaled(Sound):
        def step(self, action):
            observation, _, *rest = super().step(action)
            return observation, scale * (1 if action else -1), *rest

    assert finding(Scaled, "rewards", config=Config("x", reward=EncodingConfig(limit=limit))).severity == severity


def test_a_goal_that_random_play_never_meets_is_a_warning():
    class Far(Sound):
        observation_space = spaces.Box(-1000, 1000, (1,), np.float32)

        def step(self, action):
            self.position += 1 if action == 2 else -1
            return self.observe(), -1.0, False, False, {}

    found = finding(Far, "rewards")
    assert found.severity == "warning"
    assert "every one of 400 rewards was -1 and no episode terminated" in found.text


def test_episodes_that_never_end_are_a_warning():
    class Endless(Sound):
        observation_space = spaces.Box(-1000, 1000, (1,), np.float32)

        def step(self, action):
            observation, reward, _, _, info = super().step(action)
            return observation, reward, False, False, info

    report = check(Endless, steps=300)
    (found,) = [f for f in report.findings if f.name == "episodes"]
    assert found.severity == "warning" and report.ok
    assert "none ended in 300 steps; no time limit" in found.text
    assert "cut episodes off after 27,000 steps (evaluate.max_steps)" in found.way_out
    assert "max_episode_steps" in found.way_out


def test_a_missing_time_limit_is_a_warning_even_where_episodes_end():
    (found,) = [f for f in check(Sound, steps=300).findings if f.name == "episodes"]
    assert found.severity == "warning"
    assert "evaluate.max_steps" in found.way_out and "max_episode_steps" in found.way_out


def test_a_time_limit_told_as_termination_is_a_warning():
    class Cut(Sound):
        def reset(self, *, seed=None, options=None):
            self.steps = 0
            return super().reset(seed=seed)

        def step(self, action):
            self.steps += 1
            self.position = int(np.clip(self.position + (1 if action == 2 else -1), -5, 5))
            return self.observe(), float(self.position), self.steps == 20, False, {}

    found = finding(Cut, "episodes")
    assert found.severity == "warning"
    assert "truncated=True" in found.way_out


def test_a_seed_that_is_not_used_is_a_warning():
    class Unseeded(Sound):
        def reset(self, *, seed=None, options=None):
            super().reset()
            self.position = int(np.random.default_rng().integers(-2, 3))
            self.drift = np.random.default_rng().random()
            return self.observe(), {}

        def observe(self):
            return np.array([np.clip(self.position + 0.01 * getattr(self, "drift", 0), -5, 5)], np.float32)

    found = finding(Unseeded, "seeding")
    assert found.severity == "warning"
    assert "one seed gave two trajectories" in found.text
    assert "self.np_random" in found.way_out


def test_what_outlives_a_reset_is_a_warning():
    class Numbered(Sound):
        made = 0

        def __init__(self):
            type(self).made += 1
            self.number = self.made / 100

        def observe(self):
            return np.array([self.position * (1 - self.number)], np.float32)

    found = finding(Numbered, "seeding")
    assert found.severity == "warning"
    assert "a new instance with the same seed differs" in found.text


def test_seeds_that_make_no_difference_are_a_warning():
    class Fixed(Sound):
        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.position = 0
            return self.observe(), {}

    found = finding(Fixed, "seeding")
    assert found.severity == "warning"
    assert "six seeds gave one and the same trajectory" in found.text


def test_a_second_instance_that_fails_is_an_error():
    class Single(Sound):
        made = 0

        def __init__(self):
            if type(self).made:
                raise RuntimeError("port in use")
            type(self).made = 1

    found = finding(Single, "seeding")
    assert found.severity == "error"
    assert "port in use" in found.text


def test_a_mask_is_reported_with_its_share():
    class Masked(Sound):
        def action_masks(self):
            return [True, False]

    assert finding(Masked, "legal").text == "a mask leaves 50% of the actions on average"


def test_an_environment_of_muzens_own_protocol_is_played_too():
    from muzen.envs import make

    report = check(lambda: make("CartPole-v1"), steps=100)
    assert report.ok
    assert report.uses
    assert {"rewards", "episodes", "seeding", "speed"} <= {finding.name for finding in report.findings}


@pytest.mark.parametrize(
    ("game", "players"), [("tic_tac_toe", "2, in turn; one's gain"), ("pig(players=3,winscore=20)", "3, not strictly")]
)
def test_a_game_is_told_by_its_players_and_outcomes(game, players):
    pytest.importorskip("pyspiel")
    report = check(f"openspiel:{game}", steps=600)
    assert report.ok and not [x for x in report.findings if x.severity == "warning"], report.lines()
    text = {finding.name: finding.text for finding in report.findings}
    assert text["players"].startswith(players)
    assert text["outcomes"].startswith("mean returns by player over")
