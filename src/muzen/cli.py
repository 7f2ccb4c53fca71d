"""The command line: `muzen train`, `evaluate`, `resume`, `arena`, `show`, `plot`, `record`, `play`, `check` and others.

Each command is a dataclass whose fields are its flags; `Train` is the configuration itself. What needs jax
is imported where it is used, so that `muzen --help` answers at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
import signal
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.text import Text
from tyro.conf import FlagCreatePairsOff, Positional, arg

import muzen
from muzen.config import Config, load_config, validate
from muzen.errors import ConfigError, EnvError, MuzenError, TrainingError
from muzen.machine import quoted
from muzen.presets import PRESETS, preset
from muzen.progress import Progress

Folder = Annotated[Path, arg(metavar="DIR")]
OptionalFolder = Annotated[Path | None, arg(metavar="DIR")]
OptionalFile = Annotated[Path | None, arg(metavar="FILE")]
Code = Annotated[str | None, arg(metavar="python:MODULE:NAME")]
Flag = FlagCreatePairsOff[bool]

FOUND_WRONG = 1
BAD_INPUT = 2
SIGNALS = {"SIGINT": 128 + signal.SIGINT, "SIGTERM": 128 + signal.SIGTERM}


@dataclass(frozen=True, kw_only=True)
class OwnParts:
    """Flags that name a network and encodings of the user's own."""

    network_from: Code = None
    """A network of yours in place of the built-in one, or what makes it of (spec, key)."""
    value_encoding_from: Code = None
    """An encoding of values of yours, or what makes it."""
    reward_encoding_from: Code = None
    """The same of rewards."""

    def named(self, env: str | None) -> list[str]:
        """The flags that name these parts, and `env` where that is code too, for another command."""
        from muzen.envs import is_code

        flags = {
            "--env": env if env is not None and is_code(env) else None,
            "--network-from": self.network_from,
            "--value-encoding-from": self.value_encoding_from,
            "--reward-encoding-from": self.reward_encoding_from,
        }
        return [word for flag, value in flags.items() if value is not None for word in (flag, value)]

    def own(self) -> dict[str, Any]:
        """As the Python API takes them; only those that are named."""
        from muzen.envs import code_named, raised

        named = {
            "network": self.network_from,
            "value_encoding": self.value_encoding_from,
            "reward_encoding": self.reward_encoding_from,
        }
        found = {part: code_named(name) for part, name in named.items() if name is not None}
        for part in found.keys() - {"network"}:
            if callable(found[part]) and (isinstance(found[part], type) or not hasattr(found[part], "encode")):
                try:
                    found[part] = found[part]()
                except Exception as error:  # the user's code: anything may come out of it
                    raise ConfigError(f"{named[part]}: making it failed: {raised(error)}") from error
        return found


@dataclass(frozen=True)
class Train(OwnParts, Config):
    """Train on an environment, evaluate over greedy episodes, and leave everything in a run folder.

    Every setting below can also stand in the FILE of --config (JSON or TOML); a flag wins over the file,
    the file over the environment's preset. Give an ENV_ID before --help to see its own defaults.
    """

    env_id: Annotated[Positional[str], arg(metavar="ENV_ID")] = ""
    """A Gymnasium id such as CartPole-v1, a game such as openspiel:tic_tac_toe, or python:module:function."""
    seeds: str = ""
    """Several seeds, one run after another: 0-4, or 0,3,7; then a table and a plot. Goes on with those in --out."""
    out: OptionalFolder = None
    """Run folder, which must not exist yet; with --seeds, of a folder for each. Default: runs/ENV_ID-seedN."""
    config: OptionalFile = None
    """Settings to start from, in a .json or .toml file; it needs to state only what differs."""
    warm_start: OptionalFolder = None
    """Run folder whose weights to start from."""
    profile: Flag = False
    """Say at the end where the wall-clock went, and keep it in the run folder's profile.json."""
    debug: Flag = False
    """Show the whole traceback of an error."""

    def settings(self) -> Config:
        """The configuration without what only the command line knows."""
        return validate(Config(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Config)}))

    def __call__(self) -> int:
        config = self.settings()
        if self.seeds:
            from muzen import api

            seeds = _parse_seeds(self.seeds)
            with api.place(self.out, config.env_id, f"seeds{seeds[0]}-{seeds[-1]}") as folder:
                return self._train_seeds(config, seeds, folder)
        began = time.monotonic()
        run = self._train(config, self.out)
        return _ended(run, time.monotonic() - began, self.named(config.env_id))

    def _train(self, config: Config, out: Path | None) -> Any:
        from muzen import api

        with _Watch() as progress:
            return api.train(
                config.env_id,
                config=config,
                out=out,
                warm_start=self.warm_start,
                profile=self.profile,
                callbacks=[progress],
                **self.own(),
            )

    def _train_seeds(self, config: Config, seeds: list[int], folder: Path) -> int:
        """One run after another in one folder, then a table and a plot.

        Given the folder of an earlier call, it goes on with that: what is finished stays as it is.
        """
        from muzen.plots import plot_runs
        from muzen.summary import profile_lines, seeds_table

        runs: list[tuple[Any, float]] = []
        failed: list[str] = []
        for seed in seeds:
            began = time.monotonic()
            try:
                run = self._train_or_go_on(dataclasses.replace(config, seed=seed), folder / f"seed{seed}")
            except (TrainingError, EnvError) as error:  # of this seed alone
                _complain(f"seed {seed}: {type(error).__name__}: {error}")
                failed.append(str(seed))
                continue
            if run.stopped in SIGNALS:
                code = _ended(run, time.monotonic() - began, self.named(config.env_id))
                _say(f"or with this and the seeds after it: the same command with --out {quoted(folder)}")
                return code
            if run.profile:
                _say("\n".join(profile_lines(run.profile, run.evaluation["env_steps_trained"])))
            runs.append((run, max(run.seconds, time.monotonic() - began)))
        if runs:
            Console().print(seeds_table(runs))
            _say(f"run folders: {folder}")
            _say(f"learning curves: {plot_runs([run.folder for run, _ in runs], folder / 'learning.png')}")
        if failed:
            _complain(f"seeds without a result: {', '.join(failed)}")
        return BAD_INPUT if failed else 0

    def _train_or_go_on(self, config: Config, out: Path) -> Any:
        from muzen import api

        before = api.run_in(out, config, api.began_with(self.warm_start, **self.own()))
        if before is None:
            return self._train(config, out)
        if before.evaluation:
            _say(f"{out}: is finished, and stays as it is")
            return before
        with _Watch() as progress:
            return api.resume(out, env=config.env_id, callbacks=[progress], **self.own())


@dataclass(frozen=True)
class Resume(OwnParts):
    """Go on with a run that was stopped or killed, or train a finished one for longer."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """The run folder."""
    env: Code = None
    """The environment, where it is code of yours, or another that looks the same to the agent."""
    env_steps: int | None = None
    """A new budget in environment steps, the steps so far included."""
    minutes: float | None = None
    """A new wall-clock budget in minutes, the time so far included."""
    debug: Flag = False
    """Show the whole traceback of an error."""

    def __call__(self) -> int:
        from muzen import api

        began = time.monotonic()
        with _Watch() as progress:
            run = api.resume(
                self.folder,
                env=self.env,
                env_steps=self.env_steps,
                minutes=self.minutes,
                callbacks=[progress],
                **self.own(),
            )
        return _ended(run, time.monotonic() - began, self.named(self.env))


@dataclass(frozen=True)
class Evaluate(OwnParts):
    """Play greedy episodes with a trained agent: no noise, final weights, every episode counted."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """The run folder."""
    episodes: int = 100
    """Episodes to play."""
    seed: int = 0
    """Seed of the episodes; the same seed gives the same episodes."""
    simulations: int | None = None
    """Simulations per move; the run's own setting if left out."""
    env: Code = None
    """The environment, where it is code of yours, or another that looks the same to the agent."""
    json: Flag = False
    """Print one JSON object and nothing else on standard output."""
    debug: Flag = False
    """Show the whole traceback of an error."""

    def __call__(self) -> int:
        from muzen import api
        from muzen.summary import returns

        with _Watch() as progress:
            result = api.evaluate(
                self.folder,
                env=self.env,
                episodes=self.episodes,
                seed=self.seed,
                simulations=self.simulations,
                progress=progress.on_evaluation,
                **self.own(),
            )
        _say(_json(result) if self.json else f"{result['env_id']}: {returns(result)}")
        return 0


@dataclass(frozen=True)
class Arena:
    """Play matches of trained agents against opponents, from both sides of the same openings, and rate them all."""

    folders: Annotated[Positional[tuple[Path, ...]], arg(metavar="DIR [DIR ...]")]
    """Run folders, or DIR@STEP for what a run was at a point of its curve; each meets all opponents and all others."""
    opponents: str = "random"
    """Comma-separated: random, mcts:SIMULATIONS, minimax:DEPTH, hold:POINTS (pig), or run folders."""
    games: int = 100
    """Games of each match, half from each side; rounded up to whole openings."""
    simulations: int | None = None
    """Simulations per move of every agent; each run's own setting if left out."""
    seed: int = 0
    """Seed of openings and chance; the same seed gives the same games."""
    opening_plies: str = ""
    """Random moves that games begin with: 2-4 (the default), or 0-0 for none (the default in games of chance)."""
    out: OptionalFolder = None
    """Where arena-N.json, arena-N.png and games/arena-N.jsonl go. Default: the first run folder."""
    json: Flag = False
    """Print one JSON object and nothing else on standard output."""
    debug: Flag = False
    """Show the whole traceback of an error."""

    def __call__(self) -> int:
        if not self.folders:
            raise ConfigError("arena: no run folder given; name at least one, such as runs/openspiel-tic_tac_toe-seed0")
        from muzen.arena import arena
        from muzen.summary import arena_tables

        with _Watch() as progress:
            result = arena(
                self.folders,
                opponents=self.opponents,
                games=self.games,
                simulations=self.simulations,
                seed=self.seed,
                opening_plies=_parse_plies(self.opening_plies),
                out=self.out,
                progress=progress.on_arena,
            )
        if self.json:
            _say(_json(result))
            return 0
        for table in arena_tables(result):
            Console().print(table)
        for what, path in result["files"].items():
            _say(f"{what}: {path}")
        return 0


@dataclass(frozen=True)
class Show:
    """Replay recorded games: step through them with keys, or print all positions where there is no terminal."""

    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """A file of games, such as DIR/games/arena-1.jsonl."""
    game: int | None = None
    """The game to show, counted from 1; all of them if left out."""
    list: Flag = False
    """List the games, a line each."""
    export: OptionalFile = None
    """Write them for other programs instead: chess to a .pgn file, Go to an .sgf file."""
    debug: Flag = False
    """Show the whole traceback of an error."""

    def __call__(self) -> int:
        from muzen.show import export_games, games_table, show

        if self.export is not None:
            _say(f"wrote {export_games(self.file, self.export, game=self.game)}")
        elif self.list:
            Console().print(games_table(self.file))
        else:
            show(self.file, game=self.game)
        return 0


@dataclass(frozen=True)
class Plot:
    """Draw the learning curves of run folders; several runs give their mean and band."""

    folders: Annotated[Positional[tuple[Path, ...]], arg(metavar="DIR [DIR ...]")]
    """Run folders, or folders of run folders."""
    out: OptionalFile = None
    """The picture to write, a .png, .pdf or .svg. Default: learning.png in the first folder."""
    debug: Flag = False
    """Show the whole traceback of an error."""

    def __call__(self) -> int:
        if not self.folders:
            raise ConfigError("plot: no run folder given; name at least one, such as runs/CartPole-v1-seed0")
        from muzen.plots import plot_runs

        _say(f"wrote {plot_runs(list(self.folders), self.out or self.folders[0] / 'learning.png')}")
        return 0


@dataclass(frozen=True)
class Record(OwnParts):
    """Film a greedy episode with the search's value and policy drawn beside it."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """The run folder."""
    out: OptionalFile = None
    """The .gif or .mp4 to write. Default: episode.gif in the run folder."""
    seed: int = 0
    """Seed of the episodes; the same seed shows the first episodes of muzen evaluate, in games of itself."""
    episodes: int = 1
    """Episodes to film."""
    env: Code = None
    """The environment, where it is code of yours, or another that looks the same to the agent."""
    debug: Flag = False
    """Show the whole traceback of an error."""

    def __call__(self) -> int:
        from muzen.record import record

        os.environ.setdefault(
            "SDL_VIDEODRIVER", "dummy"
        )  # pictures go to a file; SDL complains where there is no screen
        with Console(stderr=True).status("recording"):
            path = record(self.folder, self.env, self.out, seed=self.seed, episodes=self.episodes, **self.own())
        _say(f"wrote {path}")
        return 0


@dataclass(frozen=True)
class Play(OwnParts):
    """Play a game against a trained agent, in the terminal or in a browser, and see what it thinks."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """The run folder of an agent trained on a game."""
    web: Flag = False
    """Play in a browser page, which this command serves until Ctrl-C."""
    side: str = "1"
    """Which player you are, 1 to the number of players; "watch" lets the agent play alone."""
    simulations: int | None = None
    """Simulations per move; the run's own setting if left out."""
    game: str | None = None
    """Another variant of the agent's game, such as "openspiel:go(board_size=9,komi=5.5)"."""
    seed: int | None = None
    """Seed of what chance does in the first game; a fresh one if left out."""
    host: str = "127.0.0.1"
    """With --web: the address to serve at. Any other than loopback lets everyone on the network play."""
    port: int = 8642
    """With --web: the port to serve at; 0 takes a free one."""
    no_open: Flag = False
    """With --web: don't open a browser."""
    debug: Flag = False
    """Show the whole traceback of an error."""

    def __call__(self) -> int:
        from muzen import api
        from muzen.play import GameSession

        new_game = partial(
            GameSession,
            api.load(self.folder, **self.own()),
            game=self.game,
            simulations=self.simulations,
            run=self.folder,
        )
        session = new_game(seed=self.seed)
        session.choose_seat(session.find_seat(self.side))
        if not self.web:
            from muzen.terminal import play_in_terminal

            return play_in_terminal(session)
        from muzen.web import serve

        return serve(
            partial(new_game, seat=session.seat),
            seed=self.seed,
            asked=str((self.folder.resolve(), self.side, self.simulations, self.game, self.seed)),
            host=self.host,
            port=self.port,
            open_browser=not self.no_open,
            debug=self.debug,
            say=_say,
        )


@dataclass(frozen=True)
class Check:
    """Say what is wrong with an environment, and what Muzen would use for it."""

    env: Annotated[Positional[str], arg(metavar="ENV")]
    """A Gymnasium id, openspiel:GAME, or python:module:function."""
    json: Flag = False
    """Print one JSON object and nothing else on standard output."""
    debug: Flag = False
    """Show the whole traceback of an error."""

    def __call__(self) -> int:
        from muzen.check import check

        report = check(self.env)
        _say(report.json() if self.json else "\n".join(report.lines()))
        return 0 if report.ok else FOUND_WRONG


@dataclass(frozen=True)
class Diagnose(OwnParts):
    """Say why a run did or did not learn: its health, and its model against the real environment."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """The run folder."""
    env: Code = None
    """The environment, where it is code of yours, or another that looks the same to the agent."""
    episodes: int = 5
    """Real episodes that the model is held against."""
    seed: int = 0
    """Of those episodes."""
    json: Flag = False
    """Print one JSON object and nothing else on standard output."""
    debug: Flag = False
    """Show the whole traceback of an error."""

    def __call__(self) -> int:
        from muzen import api

        diagnosis = api.diagnose(self.folder, env=self.env, episodes=self.episodes, seed=self.seed, **self.own())
        _say(_json(diagnosis.as_dict()) if self.json else "\n".join(diagnosis.lines()))
        return 0


COMMANDS: dict[str, type] = {
    "train": Train,
    "evaluate": Evaluate,
    "resume": Resume,
    "arena": Arena,
    "show": Show,
    "plot": Plot,
    "record": Record,
    "play": Play,
    "check": Check,
    "diagnose": Diagnose,
}


def main(argv: list[str]) -> int:
    """Run one command.

    Args:
      argv: the words after `muzen`.

    Returns:
      The process's exit code: 0; 1 where `check` finds an error; 2 for bad input; 130 or 143 after Ctrl-C or SIGTERM.
    """
    if argv[:1] in (["--version"], ["-V"]):
        _say(f"muzen {muzen.__version__}")
        return 0
    if not argv or argv[0] in ("-h", "--help", "help"):
        _say(_overview())
        return 0 if argv else BAD_INPUT
    try:
        return _parse(argv)()
    except MuzenError as error:
        if "--debug" in argv:
            raise
        _complain(f"{type(error).__name__}: {error}")
        return BAD_INPUT
    except KeyboardInterrupt as error:
        _complain("; ".join(["interrupted", *getattr(error, "__notes__", [])]))
        return 128 + signal.SIGINT
    except BrokenPipeError:  # `muzen ... | head`: nobody listens any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SystemExit as left:  # tyro, after it has printed help or what is wrong with a flag
        return left.code if isinstance(left.code, int) else BAD_INPUT


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = ["usage: muzen COMMAND ...", "", "MuZero you can install in a minute, trust, and grow with.", ""]
    lines += [
        f"  {name:<{width}}  {(command.__doc__ or '').partition(chr(10))[0]}" for name, command in COMMANDS.items()
    ]
    lines += ["", "muzen COMMAND --help shows its flags. Begin with: muzen train CartPole-v1"]
    return "\n".join(lines)


def _parse(argv: list[str]) -> Any:
    name, rest = argv[0], argv[1:]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean muzen {near[0]}?" if near else f"the commands are {', '.join(COMMANDS)}"
        raise ConfigError(f"{name}: unknown command; {hint}")
    if name == "train":
        return _parse_train(rest)
    return tyro.cli(COMMANDS[name], args=rest, prog=f"muzen {name}")


def _parse_train(words: list[str]) -> Train:
    """In two passes: the environment decides the defaults that the flags are read against."""
    prog = "muzen train"
    wants_help = bool({"-h", "--help"} & set(words))
    if wants_help:
        env_id, file = _before_help(words)
        words = ["--help"]  # tyro's help leaves out what it has read by then
    else:
        first = tyro.cli(Train, args=words, prog=prog)
        env_id, file = first.env_id, first.config
    if file is not None and not env_id:
        env_id = load_config(file, base=Config("")).env_id
        from muzen.envs import is_code

        if is_code(env_id):
            raise ConfigError(
                f"env_id: {file} names {env_id}, which is code, and no file may start code; name it yourself: "
                f"muzen train {env_id} --config {file}"
            )
    base = Config("") if wants_help and not env_id else _preset(env_id)
    if file is not None:
        base = load_config(file, base=base)
    command = tyro.cli(Train, args=words, prog=prog, default=Train(**vars(base)))
    if command.seeds and any(word.partition("=")[0] == "--seed" for word in words):
        raise ConfigError(f"seed: {command.seed}, beside seeds {command.seeds}: give one of the two")
    return command


def _preset(env_id: str) -> Config:
    if not env_id:
        raise ConfigError("env_id: which environment? Give one, such as muzen train CartPole-v1")
    if env_id in PRESETS:
        return preset(env_id)
    from muzen import envs

    return preset(env_id, envs.spec_of(env_id))


def _before_help(words: list[str]) -> tuple[str, Path | None]:
    """The environment, the first word that is neither a flag nor a flag's value; and the file of --config."""
    alone = {f"--{option.name}" for option in dataclasses.fields(Train) if option.default is False}
    env_id, file = "", None
    for before, word in zip(["", *words], words, strict=False):
        valued = before.startswith("--") and "=" not in before and before not in alone
        if before == "--config" and not word.startswith("-"):
            file = Path(word)
        elif word.startswith("--config="):
            file = Path(word.partition("=")[2])
        elif not env_id and not word.startswith("-") and not valued:
            env_id = word
    return env_id, file


_LARGEST_SEED, _MOST_DIGITS, _MOST_SEEDS = 2**31 - 1, 20, 1_000


def _parse_seeds(text: str) -> list[int]:
    """'0-4' or '0,3,7-9' as a list without repeats, in the order given."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last) if dash else (first,)
        if not all(end.isdecimal() and len(end) <= _MOST_DIGITS for end in ends) or (dash and int(last) < int(first)):
            raise ConfigError(f"seeds: {text!r} is not a list of seeds; write 0-4, or 0,3,7")
        if int(last or first) > _LARGEST_SEED:
            raise ConfigError(f"seeds: {last or first} is out of range; give whole numbers from 0 to {_LARGEST_SEED}")
        new = range(int(first), int(last or first) + 1)
        if len(new) > _MOST_SEEDS:
            raise ConfigError(f"seeds: {part.strip()} are {len(new):,} runs; give at most {_MOST_SEEDS:,}")
        seeds += new
    return list(dict.fromkeys(seeds))


def _parse_plies(text: str) -> tuple[int, int] | None:
    """'2-4' or '3' as the least and the most; None of ''."""
    if not text:
        return None
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise ConfigError(f"opening_plies: {text!r} is no range of moves; write 2-4, or 0-0 for none")
    return int(first), int(last if dash else first)


class _Watch:
    """A progress display that gives the terminal back, and says how to go on where Ctrl-C leaves it."""

    def __enter__(self) -> Progress:
        self.progress = Progress()
        return self.progress

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        self.progress.close()
        if kind is KeyboardInterrupt and self.progress.folder is not None:
            _complain(f"go on with: muzen resume {quoted(self.progress.folder)}")


def _ended(run: Any, seconds: float, named: list[str]) -> int:
    from muzen.summary import run_summary

    _say(run_summary(run, seconds, named))
    return SIGNALS.get(run.stopped, 0)


def _say(text: str) -> None:
    print(text, flush=True)


def _json(data: Any) -> str:
    """Strict JSON: what is not a finite number becomes null."""

    def strict(x: Any) -> Any:
        if isinstance(x, dict):
            return {name: strict(inner) for name, inner in x.items()}
        if isinstance(x, list | tuple):
            return [strict(inner) for inner in x]
        return None if isinstance(x, float) and not math.isfinite(x) else x

    return json.dumps(strict(data))


def _complain(text: str) -> None:
    Console(stderr=True).print(Text(text, style="red"), soft_wrap=True)
