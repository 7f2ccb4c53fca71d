import dataclasses
import functools
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from muzen.envs import env_name, make, nearest_names, require_alike, spec_of
from muzen.errors import EnvError, UnknownEnvError, UnsupportedSpaceError
from muzen.types import EnvSpec

OWN_ENVIRONMENT = """
import gymnasium, numpy
from gymnasium import spaces

class Own(gymnasium.Env):
    observation_space = spaces.Box(-1, 1, (3,))
    action_space = spaces.Discrete(4)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return numpy.zeros(3, numpy.float32), {}
    def step(self, action):
        return numpy.zeros(3, numpy.float32), 0.0, False, False, {}

def make_own(render_mode=None):
    env = Own()
    env.render_mode = render_mode
    return env

def make_nothing():
    return None

def make_sized(size):
    return Own()

NUMBER = 3
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module in the current directory; its name."""
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN_ENVIRONMENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield name
    sys.modules.pop(name, None)


def test_a_gymnasium_id_makes_that_environment():
    env = make("FrozenLake-v1")
    assert env.spec.id == "FrozenLake-v1"
    assert env.spec.observation_shape == (16,)
    env.close()


def test_a_function_named_on_the_command_line_is_found_in_the_current_directory(own_module):
    spec = spec_of(f"python:{own_module}:make_own")
    assert spec.id == f"python:{own_module}:make_own"
    assert (spec.observation_shape, spec.num_actions, spec.max_episode_steps) == ((3,), 4, None)


def test_a_class_is_a_function_that_makes_an_environment(own_module):
    assert spec_of(f"python:{own_module}:Own").num_actions == 4


def test_the_render_mode_reaches_a_function_that_takes_one(own_module):
    env = make(f"python:{own_module}:make_own", render_mode="rgb_array")
    assert env.render_mode == "rgb_array"


def test_a_factory_makes_an_environment_with_its_own_time_limit():
    def factory():
        return gymnasium.wrappers.TimeLimit(gymnasium.make("CartPole-v1"), 20)

    spec = spec_of(factory)
    assert spec.max_episode_steps == 20
    assert spec.id.endswith("factory")


def test_a_partial_and_a_lambda_have_names():
    assert env_name(functools.partial(gymnasium.make, "CartPole-v1")).endswith(":make")
    assert "<lambda>" in env_name(lambda: None)
    assert spec_of(functools.partial(gymnasium.make, "CartPole-v1")).num_actions == 2


def test_an_environment_that_follows_muzens_own_protocol_is_used_as_it_is():
    env = make("CartPole-v1")
    assert make(lambda: env) is env


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("cartpole", "CartPole-v1"),
        ("CartPole", "CartPole-v1"),
        ("CartPole-v9", "CartPole-v1"),
        ("CarPole-v1", "CartPole-v1"),
        ("Lunar", "LunarLander-v3"),
        ("LunarLander-v2", "LunarLander-v3"),
        ("frozenlake8x8-v1", "FrozenLake8x8-v1"),
    ],
)
def test_an_unknown_id_names_the_nearest(name, nearest):
    with pytest.raises(UnknownEnvError, match=f"did you mean {nearest}"):
        make(name)


@pytest.mark.parametrize("name", ["", "Nothing-v0", "a b c", "nowhere/Thing-v1", "Qxz"])
def test_an_id_like_no_other_is_answered_with_what_to_write(name):
    assert nearest_names(name) == []
    with pytest.raises(UnknownEnvError, match="such as CartPole-v1"):
        make(name)


def test_a_missing_extra_is_answered_with_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(EnvError, match=r'pip install "muzen\[atari\]"'):
        make("ALE/Pong-v5")

    def without_box2d(*args, **kwargs):
        raise gymnasium.error.DependencyNotInstalled('Box2D is not installed, run `pip install "gymnasium[box2d]"`')

    monkeypatch.setattr(gymnasium, "make", without_box2d)
    with pytest.raises(EnvError, match=r'pip install "muzen\[box2d\]"'):
        make("LunarLander-v3")


@pytest.mark.parametrize("name", ["python:", "python:a", "python:a:", "python::b", "python:a:b:c"])
def test_a_malformed_python_name_is_answered_with_the_form(name):
    with pytest.raises(EnvError, match="write python:module:name"):
        make(name)


def test_an_unknown_module_or_function_is_named(own_module):
    with pytest.raises(UnknownEnvError, match="there is no module nowhere_at_all"):
        make("python:nowhere_at_all:make")
    with pytest.raises(UnknownEnvError, match="did you mean make_own"):
        make(f"python:{own_module}:make_oen")
    with pytest.raises(UnknownEnvError, match="has no NUMBERS"):
        make(f"python:{own_module}:NUMBERS")
    with pytest.raises(EnvError, match="NUMBER: is no function, but of type int"):
        make(f"python:{own_module}:NUMBER")


def test_a_module_that_itself_lacks_a_module_is_not_called_unknown(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import nowhere_at_all\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EnvError, match="importing half_installed failed: No module named 'nowhere_at_all'") as caught:
        make("python:half_installed:make")
    assert not isinstance(caught.value, UnknownEnvError)


def test_a_function_that_makes_no_environment_or_needs_arguments_is_named(own_module):
    with pytest.raises(EnvError, match=r"returned builtins\.NoneType; it must return a new gymnasium\.Env"):
        make(f"python:{own_module}:make_nothing")
    with pytest.raises(EnvError, match="missing a required argument: 'size'"):
        make(f"python:{own_module}:make_sized")


def test_an_instance_is_refused_because_several_are_needed():
    with pytest.raises(EnvError, match="pass a function that makes one"):
        make(gymnasium.make("CartPole-v1"))  # pyright: ignore[reportArgumentType]


def test_an_environment_with_an_unsupported_space_is_closed_again():
    class Continuous(gymnasium.Env):
        observation_space = spaces.Box(-1, 1, (1,))
        action_space = spaces.Box(-1, 1, (1,), np.float32)
        closed = False

        def close(self):
            type(self).closed = True

    with pytest.raises(UnsupportedSpaceError):
        make(Continuous)
    assert Continuous.closed


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def make(:\n", r"importing faulty failed: SyntaxError: .* \(faulty.py, line 1; .*--debug\)"),
        ("\nraise ValueError('no map')\n", r"importing faulty failed: ValueError: no map \(faulty.py, line 2;"),
        ("def make():\n    return {}['map']\n", r"making the environment failed: KeyError: 'map' \(faulty.py, line 2;"),
    ],
)
def test_what_the_users_code_raises_is_told_with_its_place(tmp_path, monkeypatch, code, message):
    (tmp_path / "faulty.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "faulty", raising=False)
    with pytest.raises(EnvError, match=message) as caught:
        make("python:faulty:make")
    assert caught.value.__cause__ is not None and not isinstance(caught.value, UnknownEnvError)


def test_a_game_without_its_prefix_is_recognised():
    pytest.importorskip("pyspiel")
    for name in ("tic_tac_toe", "Tic-Tac-Toe", "conect_four(rows=5)"):
        game = "connect_four" if "(" in name else "tic_tac_toe"
        with pytest.raises(UnknownEnvError, match=f"did you mean openspiel:{game}"):
            make(name)


def test_only_one_make_of_a_task_is_suggested():
    assert nearest_names("CartPole-v9") == ["CartPole-v1"]
    assert nearest_names("phys2d/CartPole-v9")[0].startswith("phys2d/CartPole")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation_shape": (3,)}, r"observation_shape is \(3,\) here, and \(2,\) there"),
        ({"num_actions": 4}, "num_actions is 4 here, and 3 there"),
        ({"players": 2}, "players is 2 here"),
    ],
)
def test_an_environment_that_an_agent_was_not_trained_for_is_refused(changes, message):
    trained = EnvSpec("test", (2,), "float32", 3)
    require_alike(trained, dataclasses.replace(trained, id="like it", max_episode_steps=5))
    with pytest.raises(EnvError, match=f"other: the agent was trained on test and cannot play it: {message}"):
        require_alike(trained, dataclasses.replace(trained, id="other", **changes))
