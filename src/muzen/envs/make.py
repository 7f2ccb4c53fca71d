"""From a name, or a function, to an environment; and what to say when there is none."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.envs.registration import registry

from muzen.envs.gymnasium import GymnasiumEnvironment
from muzen.envs.openspiel import PREFIX, OpenSpielEnvironment, game_named
from muzen.errors import ConfigError, EnvError, MuzenError, UnknownEnvError
from muzen.types import Environment, EnvSpec

EnvLike = str | Callable[..., Any]

# Namespaces whose packages register themselves on import: the module, and the pip line that brings it.
_NAMESPACES = {
    "ALE": ("ale_py", 'pip install "muzen[atari]"'),
    "MinAtar": ("minatar.gym", "pip install minatar"),
}


def make(env: EnvLike, *, render_mode: str | None = None, past_actions: int = 0) -> Environment:
    """Makes one environment.

    Args:
      env: a Gymnasium id (`CartPole-v1`), a game (`openspiel:tic_tac_toe`), `python:module:function` where the function
        returns a `gymnasium.Env` (the module may lie in the current directory), or such a function itself.
      render_mode: passed on where the environment takes one.
      past_actions: how many of the episode's last actions each observation shows too (`network.past_actions`).

    Raises:
      UnknownEnvError: nothing has this id; the message lists the nearest.
      UnsupportedSpaceError: its spaces are of a kind that is not supported.
      EnvError: it cannot be made; the message says what is missing.
      ConfigError: past actions are asked for in what is no Gymnasium environment and does not show them itself, or
        fewer than none.
    """
    if past_actions < 0:
        raise ConfigError(f"network.past_actions: {past_actions} is below 0; use 0 for none")
    made = open_env(env, render_mode=render_mode)
    if isinstance(made, gymnasium.Env):
        try:
            return GymnasiumEnvironment(made, env_name(env), past_actions)
        except BaseException:
            made.close()
            raise
    if refusal := past_actions_refused(made.spec, past_actions):
        made.close()
        raise ConfigError(refusal)
    return made


def past_actions_refused(spec: EnvSpec, past_actions: int) -> str:
    """Why what is no Gymnasium environment cannot show so many past actions; empty if it does or none are asked for."""
    if past_actions in (0, spec.past_actions):
        return ""
    return (
        f"network.past_actions: {past_actions}, but {spec.id} is no Gymnasium environment, and what it shows is passed "
        "on as it is; use 0"
    )


def spec_of(env: EnvLike, *, past_actions: int = 0) -> EnvSpec:
    """The specification of an environment, which is made and closed for it. Arguments and errors as `make`."""
    made = make(env, past_actions=past_actions)
    made.close()
    return made.spec


def require_alike(trained: EnvSpec, spec: EnvSpec) -> None:
    """Refuse an environment that does not look to an agent like the one that it was trained for.

    Raises:
      EnvError: observations, actions or players differ; the message says which.
    """
    for fact in ("observation_shape", "num_actions", "players", "alternating", "zero_sum"):
        own, other = getattr(trained, fact), getattr(spec, fact)
        if own != other:
            raise EnvError(
                f"{spec.id}: the agent was trained on {trained.id} and cannot play it: "
                f"{fact} is {other} here, and {own} there"
            )


def env_name(env: EnvLike) -> str:
    """How an environment is called: its id, or `python:module:function` of the function that makes it."""
    if isinstance(env, str):
        return env
    function = env.func if hasattr(env, "func") else env  # functools.partial has no name of its own
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"python:{getattr(function, '__module__', '?')}:{name}"


def is_code(name: str) -> bool:
    """Whether an environment's name makes Muzen import or call code that the name chooses."""
    return ":" in name and not name.startswith(PREFIX)


def named_again(env: EnvLike | None, recorded: str) -> EnvLike:
    """Where a run's environment comes from: what the user names, or else the recorded id if that runs no user's code.

    Raises:
      EnvError: the recorded environment is the user's own code, which no file may start.
    """
    if env is not None:
        return env
    if is_code(recorded):
        raise EnvError(
            f"{recorded}: the run was trained on code of yours; name it again: "
            "env=... in Python, --env python:module:function on the command line"
        )
    return recorded


def open_env(env: EnvLike, *, render_mode: str | None = None) -> Any:
    """The environment itself, before any adaptor: a `gymnasium.Env`, or a `muzen.types.Environment`.

    Raises:
      UnknownEnvError, EnvError: as `make`.
    """
    if isinstance(env, str):
        if env.startswith(PREFIX):
            return OpenSpielEnvironment(env)
        if env.startswith("python:"):
            return _checked(code_named(env), env, render_mode)
        return _registered(env, render_mode)
    if isinstance(env, gymnasium.Env):
        raise EnvError(
            f"{env}: this is one environment, but several are needed; pass a function that makes one, "
            "such as lambda: MyEnv()"
        )
    if not callable(env):
        raise EnvError(f"{env!r}: an environment is named by a string or made by a function; this is neither")
    return _checked(env, env_name(env), render_mode)


def nearest_names(name: str, count: int = 3) -> list[str]:
    """Registered ids most like `name`, best first, the newest version of each; case and version don't count."""
    newest: dict[str, tuple[int, str]] = {}
    for key, spec in registry.items():
        base = key.rsplit("-v", 1)[0]
        version = spec.version if spec.version is not None else -1
        newest[base] = max(newest.get(base, (-2, "")), (version, key))
    wanted = name.rsplit("-v", 1)[0].lower()
    scored = []
    for base, (_, key) in newest.items():
        if "/" in base and "/" not in wanted and base.rpartition("/")[2] in newest:
            continue  # another make of the same task, which wants packages of its own
        whole = difflib.SequenceMatcher(None, wanted, base.lower()).ratio()
        last = difflib.SequenceMatcher(None, wanted, base.lower().rsplit("/", 1)[-1]).ratio()
        scored.append((max(whole, 0.95 * last), key))
    return [key for score, key in sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:count] if score >= 0.6]


def _registered(name: str, render_mode: str | None) -> gymnasium.Env:
    module, _, env_id = name.rpartition(":")
    if module:
        with _current_directory_on_path():
            _imported(module, name)
    namespace = env_id.split("/", 1)[0]
    if namespace in _NAMESPACES:
        module, pip_line = _NAMESPACES[namespace]
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise EnvError(f"{name}: {module} is not installed; run: {pip_line}") from error
    # Stricter than Gymnasium, which takes the newest version of a name without one: a run must say which.
    if env_id not in registry:
        raise UnknownEnvError(_unknown(name, env_id))
    arguments: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
    try:
        with warnings.catch_warnings():
            # An environment that cannot draw that way says so again when it is asked to draw.
            warnings.filterwarnings("ignore", message=".*render_mode.*")
            # Box2D's wrapper crashes the interpreter on import where this warning is made an error.
            warnings.filterwarnings("ignore", message="builtin type .* has no __module__", category=DeprecationWarning)
            return gymnasium.make(env_id, disable_env_checker=True, **arguments)
    except gymnasium.error.DependencyNotInstalled as error:
        raise EnvError(f"{name}: {_dependency(str(error))}") from error
    except ModuleNotFoundError as error:
        raise EnvError(f"{name}: it needs a package that is not installed ({error}); pip install it") from error


def _unknown(name: str, env_id: str) -> str:
    nearest = nearest_names(env_id)
    if game := game_named(env_id):
        nearest = [game, *nearest[:2]]
    if nearest:
        return f"{name}: no environment has this id; did you mean {' or '.join(nearest)}?"
    return (
        f"{name}: no environment has this id; give a registered Gymnasium id such as CartPole-v1, "
        "python:module:function for your own, or module:id where importing the module registers it"
    )


def _dependency(message: str) -> str:
    if "box2d" in message.lower():
        return 'Box2D is not installed; run: pip install "muzen[box2d]"'
    return message


def code_named(name: str) -> Any:
    """What `python:module:name` stands for; the module may lie in the current directory.

    Raises:
      UnknownEnvError: the module or the name is not there; the message lists the nearest.
      EnvError: the name is not written so, or the module cannot be imported.
    """
    parts = name.split(":")
    if len(parts) != 3 or not all(parts) or parts[0] != "python":
        raise EnvError(f"{name}: write python:module:name, such as python:my_envs:make_maze")
    _, module_name, wanted = parts
    with _current_directory_on_path():
        module = found = _imported(module_name, name)
    for part in wanted.split("."):
        found = getattr(found, part, None)
    if found is None:
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        close = difflib.get_close_matches(wanted, names, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise UnknownEnvError(f"{name}: {module.__file__} has no {wanted}{hint}")
    return found


def _imported(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module and not module.startswith(f"{error.name}."):
            raise EnvError(f"{name}: importing {module} failed: {error}; pip install what is missing") from error
        raise UnknownEnvError(
            f"{name}: there is no module {module} in {os.getcwd()} or among the installed packages"
        ) from error
    except Exception as error:  # the module is the user's code: anything may come out of it
        raise EnvError(f"{name}: importing {module} failed: {raised(error)}") from error


def _checked(function: Callable[..., Any], name: str, render_mode: str | None) -> Any:
    """Calls a user's function, and sees to it that an environment comes back."""
    if not callable(function):
        kind = type(function).__qualname__
        raise EnvError(f"{name}: is no function, but of type {kind}; name one that returns a new environment")
    arguments = {}
    if render_mode is not None and _takes(function, "render_mode"):
        arguments["render_mode"] = render_mode
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as error:
        raise EnvError(f"{name}: the function is called without arguments ({error}); give them defaults") from error
    except ValueError:
        pass  # a built-in without a signature
    try:
        made = function(**arguments)
    except MuzenError:
        raise
    except Exception as error:  # the function is the user's code: anything may come out of it
        raise EnvError(f"{name}: making the environment failed: {raised(error)}") from error
    if isinstance(made, gymnasium.Env):
        return made
    if isinstance(getattr(made, "spec", None), EnvSpec) and callable(getattr(made, "step", None)):
        return made
    raise EnvError(
        f"{name}: the function returned {type(made).__module__}.{type(made).__qualname__}; it must return a new "
        "gymnasium.Env (of the package gymnasium, not gym) at each call"
    )


def raised(error: BaseException) -> str:
    """What the user's code raised, and where, in a line: 'ValueError: too small (envs.py, line 12)'."""
    place = f"line {error.lineno}" if isinstance(error, SyntaxError) else ""
    if frames := traceback.extract_tb(error.__traceback__):
        last = frames[-1]
        file = error.filename if isinstance(error, SyntaxError) else last.filename
        place = f"{Path(file or '?').name}, {place or f'line {last.lineno}'}"
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {message} ({place}; the whole traceback with --debug)"


def _takes(function: Callable[..., Any], argument: str) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == argument or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


@contextlib.contextmanager
def _current_directory_on_path() -> Iterator[None]:
    """Imports from the current directory first; afterwards it comes last, for what is imported later."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
        if here not in sys.path and "" not in sys.path:
            sys.path.append(here)
