"""What `import muzen` offers: train, resume, load, evaluate, with the names of the command line."""

from __future__ import annotations

import contextlib
import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from muzen import envs
from muzen.agent import Agent
from muzen.caches import use_compilation_cache
from muzen.callbacks import Callback
from muzen.config import Config, check_count, check_seed, flat, override
from muzen.devices import available, mesh_of
from muzen.diagnose import (
    Finding,
    UnrollReport,
    WinReport,
    findings,
    play_for_diagnosis,
    unroll_against,
    wins_at_hand,
)
from muzen.errors import ConfigError, EnvError, RunExistsError, RunNotFoundError
from muzen.evaluate import evaluate as play_episodes
from muzen.experiment import (
    SPAN_FLOOR,
    Experiment,
    choose_devices,
    make_agent,
    make_model,
    restore_model,
    spec_from_dict,
)
from muzen.files import storage_error
from muzen.presets import preset
from muzen.profile import EVALUATION, breakdown
from muzen.profile import FILE as PROFILE_FILE
from muzen.runs import (
    EVALUATION_GAMES,
    Checkpoint,
    GameRecord,
    RunFolder,
    Weights,
    games_folder,
    read_json,
    read_metrics,
    write_games,
)
from muzen.types import Environment

# Where runs go when no folder is named, below the current directory.
RUNS = Path("runs")
EVALUATION_FILE = "evaluation.json"


@dataclass(frozen=True)
class Run:
    """A finished or stopped run.

    Attributes:
      folder: where everything it knows lies.
      config: its settings.
      stopped: "finished", or why it stopped before its budget.
      evaluation: greedy returns with their interval, as `evaluate` gives them; empty if it stopped early.
      seconds: wall-clock of training, evaluation not included.
      profile: seconds by part of the loop, if it was asked for; they add up to the wall-clock.
      own: network and encodings of the user's own that it was trained with, as `load` takes them.
    """

    folder: Path
    config: Config
    stopped: str
    evaluation: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    profile: dict[str, float] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The rows of the metrics table."""
        return read_metrics(self.folder)

    def agent(self) -> Agent:
        """The trained agent."""
        return load(self.folder, **self.own)


def _maker(source: envs.EnvLike, past_actions: int) -> Callable[[], Environment]:
    return lambda: envs.make(source, past_actions=past_actions)


def _maker_for(agent: Agent, env: envs.EnvLike | None) -> Callable[[], Environment]:
    """Makes what the agent was trained on, or what the user names in its place, if it looks the same to the agent."""
    source = envs.named_again(env, agent.spec.id)

    def make() -> Environment:
        made = envs.make(source, past_actions=agent.spec.past_actions)
        try:
            envs.require_alike(agent.spec, made.spec)
        except EnvError:
            made.close()
            raise
        return made

    return make


@contextlib.contextmanager
def place(out: str | os.PathLike | None, env_id: str, which: str) -> Iterator[Path]:
    """Where something new is to lie: `out`, or else runs/NAME-WHICH, or the first free runs/NAME-WHICH-2, -3, ...

    A folder of our own choice is made at once, so that nobody else gets it, and is gone again if it stays empty.

    Raises:
      StorageError: no folder can be made there.
    """
    if out is not None:
        yield Path(out)
        return
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in env_id)
    names = itertools.chain([f"{name}-{which}"], (f"{name}-{which}-{n}" for n in itertools.count(2)))
    try:
        RUNS.mkdir(parents=True, exist_ok=True)
        path = next(RUNS / name for name in names if _made(RUNS / name))
    except OSError as error:
        raise storage_error(RUNS, error) from error
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):  # not empty: something came of it
            path.rmdir()
            RUNS.rmdir()


def _made(path: Path) -> bool:
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True


def configure(env: envs.EnvLike, *, config: Config | None = None, overrides: dict[str, Any] | None = None) -> Config:
    """The settings of a run: the environment's preset, or `config`, with overrides by dotted name on top.

    Args:
      env: as for `train`; its name stands in the settings, whatever `config` was made for.
      config: all settings; default: the environment's preset.
      overrides: settings by dotted name, `{"search.simulations": 32}`.

    Returns:
      A `Config`, every field in its range.

    Raises:
      EnvError: the environment cannot be made.
      ConfigError: a field is unknown or out of range.
    """
    if config is None:
        config = preset(envs.env_name(env), envs.spec_of(env))
    return override(config, {**(overrides or {}), "env_id": envs.env_name(env)})


def train(
    env: envs.EnvLike,
    *,
    seed: int | None = None,
    env_steps: int | None = None,
    minutes: float | None = None,
    out: str | os.PathLike | None = None,
    config: Config | None = None,
    callbacks: Iterable[Callback] = (),
    network: Any = None,
    value_encoding: Any = None,
    reward_encoding: Any = None,
    warm_start: str | os.PathLike | None = None,
    profile: bool = False,
    **overrides: Any,
) -> Run:
    """Train an agent, evaluate it, and leave everything in a run folder.

    Args:
      env: a Gymnasium id, `openspiel:GAME(parameters)`, `python:module:function`, or a function that returns a new
        Gymnasium environment.
      seed: everything random follows from it.
      env_steps: budget in environment steps, random ones included.
      minutes: wall-clock budget; whichever budget is spent first ends the run.
      out: the run folder; must not exist yet. Default: runs/ENV-seedN below the current directory.
      config: all settings; default: the environment's preset.
      callbacks: told what happens, see `Callback`.
      network: a network of the user's own, or a function (spec, key) that makes one.
      value_encoding, reward_encoding: the user's own encodings.
      warm_start: run folder of the same network.*, value.* and reward.* settings, to start from what it learned: its
        weights, its units of values and rewards, its scale of observations. No step is random then.
      profile: keep where the wall-clock went, in `Run.profile` and in the run folder's profile.json.
      overrides: settings by dotted name with `__` for the dot: `search__simulations=32`.

    Returns:
      The run. `stopped` is "finished" where it spent its budget, and there is an evaluation; otherwise what stopped it
      (Ctrl-C, SIGTERM, a callback), and `resume` goes on from there.

    Raises:
      ConfigError: a setting is unknown or out of range, or does not fit the environment or the warm start.
      EnvError: the environment is unknown, cannot be made or cannot be learned yet.
      RunExistsError, StorageError: the run folder is there already, or cannot be written.
      NonFiniteLossError: a loss turned NaN; the last good checkpoint stays.
      Whatever a callback, or an environment of the user's own, raises while it trains.
    """
    named = {"seed": seed, "env_steps": env_steps, "minutes": minutes}
    dotted = {name.replace("__", "."): value for name, value in overrides.items()}
    dotted |= {name: value for name, value in named.items() if value is not None}
    config = configure(env, config=config, overrides=dotted)
    spec = envs.spec_of(env, past_actions=config.network.past_actions)
    count = choose_devices(config, spec.observation_shape, network)
    mesh_of(count)
    config = override(config, {"devices": count})
    own = {"network": network, "value_encoding": value_encoding, "reward_encoding": reward_encoding}
    with place(out, config.env_id, f"seed{config.seed}") as path:
        folder = RunFolder.planned(path, config, began_with(warm_start, **own))
        experiment = Experiment(
            config,
            folder,
            _maker(env, config.network.past_actions),
            **own,
            callbacks=callbacks,
        )
        with closing(experiment):
            if warm_start is not None:
                experiment.warm_start(Path(warm_start))
            with folder.made():  # not before: what is refused leaves no folder behind
                return _carry_on(experiment, own, profile)


def resume(
    folder: str | os.PathLike,
    *,
    env: envs.EnvLike | None = None,
    env_steps: int | None = None,
    minutes: float | None = None,
    callbacks: Iterable[Callback] = (),
    network: Any = None,
    value_encoding: Any = None,
    reward_encoding: Any = None,
) -> Run:
    """Go on with a run that was stopped or killed, from its last checkpoint.

    An interrupted and resumed run ends with the same weights, to the bit, as an uninterrupted one (same machine
    type and thread count; where these or a version differ, callbacks are told, or else a warning says so). A larger
    `env_steps` or `minutes` continues a finished run; schedules that follow the budget then follow the new one.

    Args:
      folder: the run.
      env: named again where it is the user's own code.
      env_steps: the new budget in environment steps, those already taken included; default: the run's own.
      minutes: the new budget in minutes of wall-clock, those already taken included; default: the run's own.
      callbacks: told what happens, see `Callback`.
      network, value_encoding, reward_encoding: named again if the run was trained with the user's own.

    Returns:
      The run, as of `train`.

    Raises:
      RunNotFoundError, RunDamagedError, RunVersionError: the folder cannot be used.
      RunBusyError: another process trains in it.
      ConfigError, EnvError, StorageError, NonFiniteLossError: as for `train`.
    """
    opened = RunFolder.open(Path(folder))
    budget = {name: v for name, v in {"env_steps": env_steps, "minutes": minutes}.items() if v is not None}
    config = override(opened.config, budget)
    count = config.devices  # 0 in runs from before a batch could be divided
    there = available(count)
    fewer = [f"devices: {count} when the run began, JAX has {there} now, so one is used"] if there < count else []
    used = override(config, {"devices": 1 if fewer else there})
    own = {"network": network, "value_encoding": value_encoding, "reward_encoding": reward_encoding}
    with opened.lock():
        experiment = Experiment(
            used,
            opened,
            _maker(envs.named_again(env, config.env_id), config.network.past_actions),
            **own,
            callbacks=callbacks,
        )
        with closing(experiment):
            differs = opened.differences() + fewer + experiment.restore()
            if budget:
                _require_more(experiment)
                opened.write_config(config)
            if differs:
                _tell_differences(experiment, differs)
            return _carry_on(experiment, own)


def _require_more(experiment: Experiment) -> None:
    """Refuse a new budget that is spent already.

    Raises:
      ConfigError: it is; the message says what would be more.
    """
    if not experiment.finished:
        return
    config, steps = experiment.config, experiment.env_steps
    if steps >= config.env_steps:
        raise ConfigError(
            f"env_steps: {config.env_steps:,}, and the run has taken {steps:,}; give what it is to have in the end, "
            f"such as {2 * steps}"
        )
    raise ConfigError(
        f"minutes: {config.minutes:g}, and the run has had {experiment.elapsed() / 60:.1f}; give what it is to have in "
        "the end, or 0 for no limit"
    )


def began_with(warm_start: str | os.PathLike | None, **own: Any) -> dict[str, str]:
    """What a run begins with that no setting tells, in words to compare: a warm start, parts of the user's own."""
    parts = {
        name: part if hasattr(part, "__qualname__") else type(part) for name, part in own.items() if part is not None
    }
    told = {name: f"{part.__module__}.{part.__qualname__}" for name, part in parts.items()}
    return told if warm_start is None else {**told, "warm_start": str(Path(warm_start).resolve())}


def run_in(folder: Path, config: Config, began: dict[str, str] | None = None) -> Run | None:
    """The run that `train` with this configuration and these parts began in a folder.

    Without an evaluation where it did not finish.

    Returns:
      None where the folder holds no run.

    Raises:
      RunExistsError: it holds one of another configuration.
      RunDamagedError, RunVersionError: it cannot be read.
    """
    try:
        opened = RunFolder.open(folder)
    except RunNotFoundError:
        return None
    theirs, ours = flat(opened.config), flat(config)
    for name, value in ours.items():
        if theirs[name] != value and (name, value) != ("devices", 0):  # 0 is for what the machine has
            raise RunExistsError(
                f"{folder}: holds a run with {name} {theirs[name]}, not {value}; choose another --out, or give the "
                "settings that it began with"
            )
    now = began or {}
    before = now if opened.began is None else opened.began  # not kept by older runs
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise RunExistsError(
                f"{folder}: holds a run with {name} {before.get(name)}, not {now.get(name)}; choose another --out, or "
                "give what it began with"
            )
    rows = read_metrics(folder)
    seconds = rows[-1]["seconds"] if rows else 0.0
    path, budget = folder / EVALUATION_FILE, opened.config
    evaluation = read_json(path) if path.exists() else {}
    # One that was resumed with a larger budget, and stopped again, has the evaluation of its old end.
    spent = evaluation.get("env_steps_trained", 0) >= budget.env_steps or 0 < 60 * budget.minutes <= seconds
    if not (evaluation and spent):
        return Run(folder, budget, "", {}, seconds)
    return Run(folder, budget, "finished", evaluation, seconds)


def _tell_differences(experiment: Experiment, lines: list[str]) -> None:
    """To the callbacks, or as a warning where none of them listens."""
    for callback in experiment.callbacks:
        callback.on_difference(experiment, lines)
    if all(type(callback).on_difference is Callback.on_difference for callback in experiment.callbacks):
        message = f"{experiment.folder.path}: not resumed to the bit: {'; '.join(lines)}"
        warnings.warn(message, stacklevel=3)


def _carry_on(experiment: Experiment, own: dict[str, Any], profile: bool = False) -> Run:
    """Run to the end of the budget, evaluate, and tell the callbacks."""
    config, folder = experiment.config, experiment.folder
    for callback in experiment.callbacks:
        callback.on_start(experiment)
    stopped = experiment.run()
    seconds = experiment.elapsed()
    result: dict[str, Any] = {}
    if stopped == "finished":
        games: list[GameRecord] = []
        with experiment.clock(EVALUATION):
            result = play_episodes(
                experiment.agent(),
                experiment.make_env,
                episodes=config.evaluate.episodes,
                seed=config.evaluate.seed,
                progress=experiment.on_evaluation,
                on_games=games.extend,
            )
        folder.write_json(EVALUATION_FILE, result)
        if games:
            write_games(games_folder(folder.path) / EVALUATION_GAMES, games)
    parts: dict[str, float] = {}
    if profile:
        wall = experiment.clock.elapsed()  # before the share is measured, which takes time of its own
        parts = breakdown(experiment.clock, wall, experiment.network_share())
        folder.write_json(PROFILE_FILE, {"env_steps": experiment.env_steps, "seconds": parts})
    run = Run(folder.path, config, stopped, result, seconds, parts, own)
    for callback in experiment.callbacks:
        callback.on_end(experiment, {"run": run})
    return run


def load(
    folder: str | os.PathLike,
    *,
    network: Any = None,
    value_encoding: Any = None,
    reward_encoding: Any = None,
    simulations: int | None = None,
    step: int | None = None,
) -> Agent:
    """The trained agent of a run folder; needs no environment.

    Args:
      network, value_encoding, reward_encoding: named again if the run was trained with the user's own.
      simulations: per move; default: the run's evaluation setting.
      step: environment step whose weights to load, of those kept in a game's weights/; default: the last checkpoint's.

    Raises:
      RunNotFoundError, RunDamagedError, RunVersionError: the folder cannot be used, or has no weights of this step.
      ConfigError: simulations is out of range, or the network or an encoding is not what the run was trained with.
    """
    opened = RunFolder.open(Path(folder))
    config = opened.config
    if simulations is not None:
        check_count("simulations", simulations)  # 0 stands for the run's own in the setting, and for nothing here
        config = override(config, {"evaluate.simulations": simulations})
    saved = Checkpoint(opened.path).load()
    arrays, env_steps, span_floor = saved.arrays, saved.state["env_steps"], saved.state["span_floor"]
    if step is not None:
        arrays, env_steps = Weights(opened.path).load(step), step
        span_floor = float(arrays[SPAN_FLOOR]) if SPAN_FLOOR in arrays else span_floor
    spec = spec_from_dict(saved.state["spec"], opened.path)
    use_compilation_cache()
    mesh = mesh_of(available(config.devices))
    model = make_model(config, spec, network, value_encoding, reward_encoding)
    model = restore_model(model, arrays, opened.path)
    return make_agent(config, spec, model, env_steps, span_floor, mesh)


def evaluate(
    agent: Agent | str | os.PathLike,
    *,
    env: envs.EnvLike | None = None,
    episodes: int = 100,
    seed: int = 0,
    simulations: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    network: Any = None,
    value_encoding: Any = None,
    reward_encoding: Any = None,
) -> dict[str, Any]:
    """Greedy returns of an agent or a run folder, without noise; see `muzen.evaluate.evaluate` for the fields.

    Args:
      agent: an agent, or the folder of its run.
      env: named again where it is the user's own code.
      episodes: how many.
      seed: of the episodes.
      simulations: per move; default: the agent's own.
      progress: called with (episodes done, episodes).
      network, value_encoding, reward_encoding: as for `load`, where a folder is given.

    Raises:
      ConfigError: episodes, seed or simulations is out of range, or an agent is given and parts of it too.
      EnvError: the environment is not like the one that the agent was trained for.
      RunNotFoundError, RunDamagedError, RunVersionError: the folder cannot be used.
    """
    _require_play(episodes, seed)
    own = {"network": network, "value_encoding": value_encoding, "reward_encoding": reward_encoding}
    named = [name for name, part in own.items() if part is not None]
    if not isinstance(agent, Agent):
        agent = load(agent, simulations=simulations, **own)
    elif named:
        raise ConfigError(f"{', '.join(named)}: the agent given has its own already; leave it out, or give its folder")
    elif simulations is not None:
        agent = agent.with_simulations(simulations)
    return play_episodes(agent, _maker_for(agent, env), episodes=episodes, seed=seed, progress=progress)


@dataclass(frozen=True)
class Diagnosis:
    """What a run folder says of its training: health findings with their step, and the model against reality."""

    findings: list[tuple[float, Finding]]
    unroll: UnrollReport | None  # None where the game's own rules are searched, and no model of them is learned
    wins: WinReport | None = None  # of a game for several without chance, from the same episodes

    def lines(self) -> list[str]:
        """For people."""
        health = [f"at {step:.0f} environment steps: {finding.line()}" for step, finding in self.findings]
        said = ["Health of training:", *(health or ["nothing was wrong"]), ""]
        if self.unroll is None:
            return [*said, "The game's own rules are searched: there is no learned model to hold against them."]
        return [
            *said,
            "The learned model, unrolled k steps along real episodes (a quarter of the actions random):",
            *self.unroll.lines(),
            *(
                []
                if self.wins is None
                else ["", "Moves that win at once, as the k-th move from there:", *self.wins.lines()]
            ),
        ]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        told = [{"env_steps": step, **asdict(finding)} for step, finding in self.findings]
        reports = {"unroll": self.unroll, "wins": self.wins}
        return {"findings": told} | {k: None if report is None else report.as_dict() for k, report in reports.items()}


def diagnose(
    folder: str | os.PathLike,
    *,
    env: envs.EnvLike | None = None,
    steps: int = 5,
    episodes: int = 5,
    seed: int = 0,
    **load_options: Any,
) -> Diagnosis:
    """Say why a run did not learn: the health checks over its metrics, and the learned model against the environment.

    Args:
      folder: the run.
      env: named again where it is the user's own code.
      steps: K, steps that the model is unrolled.
      episodes: real episodes played for the comparison.
      seed: of those episodes.
      load_options: as for `load`.

    Raises:
      ConfigError: episodes or seed is out of range.
      EnvError: the environment is not like the one that the agent was trained for.
      RunNotFoundError, RunDamagedError, RunVersionError: the folder cannot be used.
    """
    _require_play(episodes, seed)
    agent = load(folder, **load_options)
    config = RunFolder.open(Path(folder)).config
    told = findings(read_metrics(Path(folder)), config)
    if agent.planner.simulator is not None:
        return Diagnosis(told, None)
    played = play_for_diagnosis(agent, _maker_for(agent, env), episodes=episodes, seed=seed)
    unroll = unroll_against(agent, played, gamma=config.learn.discount, steps=steps)
    states = [state for episode in played for state in episode.states if state is not None]
    can_be_asked = states and agent.spec.players > 1 and not agent.spec.chance
    return Diagnosis(told, unroll, wins_at_hand(agent, states, seed=seed) if can_be_asked else None)


def _require_play(episodes: Any, seed: Any) -> None:
    check_count("episodes", episodes)
    check_seed(seed)
