"""The arena: agents against opponents and each other, kept as a table, a plot, and the records of all games."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from muzen import api, arena_plot, envs
from muzen.agent import Agent
from muzen.config import check_count, check_seed
from muzen.errors import ConfigError, EnvError
from muzen.files import storage_error, write_atomic
from muzen.opponents import is_kind, opponent, split_names
from muzen.players import AgentPlayer, Player
from muzen.runs import GameRecord, append_games, games_folder, new_games_file
from muzen.tournament import pairings, tournament

FORMAT = 1
Entrant = Agent | str | os.PathLike


def arena(
    agents: Entrant | Sequence[Entrant],
    *,
    opponents: str | Sequence[Entrant] = "random",
    games: int = 100,
    simulations: int | None = None,
    seed: int = 0,
    opening_plies: tuple[int, int] | None = None,
    out: str | os.PathLike | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Play matches from both sides of a fixed set of openings, and rate all who took part.

    Every agent meets every opponent and every other agent. With more than two players, an agent takes every seat in
    turn and its opponent all the others.

    Args:
      agents: run folders, or agents, of one OpenSpiel game of two or more players; DIR@STEP is a run as it was at one
        of the steps that its weights/ holds.
      opponents: names such as "random,mcts:100,minimax:5" (of pig also "hold:20"), run folders among them.
      games: of each match; rounded up to whole openings, which are played from every seat.
      simulations: per move of every agent; default: each run's evaluation setting.
      seed: of openings and chance; the same seed gives the same games.
      opening_plies: random moves that games begin with, at least and at most; default: 2 to 4, in games of chance none.
      out: where arena-N.json, arena-N.png and games/arena-N.jsonl are written after each match; default: the first
        run folder among `agents`; nothing is written if there is none.
      progress: called with the present match's name, and games done and to do of all matches.

    Returns:
      What `tournament` gives, and simulations, and files: `result`, `plot` and `games` as they were written.

    Raises:
      ConfigError: a number is out of range, or there is no such opponent; the message says which there are.
      EnvError: it is no game of several players, or not the same game.
      RunError: a run folder cannot be used, or nothing can be written.
    """
    plies = _checked(games, simulations, seed, opening_plies)
    entered = [agents] if isinstance(agents, Agent | str | os.PathLike) else list(agents)
    if not entered:
        raise ConfigError("arena: no agent given; name at least one run folder")
    named = split_names(opponents) if isinstance(opponents, str) else list(opponents)
    own = [_agent(entrant, i, simulations) for i, entrant in enumerate(entered)]
    env_id = _game_of(own)
    players: list[Player] = []
    for i, entrant in enumerate(named, len(own)):
        if isinstance(entrant, str) and (is_kind(entrant) or not _is_folder(entrant)):
            players.append(opponent(entrant, env_id))
        else:
            players.append(_agent(entrant, i, simulations))
    if len(own) + len(players) < 2:
        raise ConfigError("opponents: there is nobody to play against; name at least one, such as random")
    _same_game(env_id, [*own, *players])
    _name_apart([*entered, *named], [*own, *players])
    folder = Path(out) if out is not None else next((_at_step(x)[0] for x in entered if not isinstance(x, Agent)), None)
    files = None if folder is None else _Files(folder)

    def on_match(result: dict[str, Any], records: list[GameRecord]) -> None:
        if files is not None:
            files.keep(result | {"simulations": simulations}, records)

    try:
        result = tournament(
            pairings(own, players),
            lambda: envs.OpenSpielEnvironment(env_id),
            games=int(games),
            seed=int(seed),
            plies=plies,
            max_steps=min(one.agent.max_steps for one in own),
            progress=progress,
            on_match=on_match,
        )
    except BaseException as error:
        if files is not None and not files.give_up():
            error.add_note(f"the matches that were played are in {files.result}")
        raise
    return result | {"simulations": simulations, "files": {} if files is None else files.paths()}


def _checked(games: int, simulations: int | None, seed: int, plies: tuple[int, int] | None) -> tuple[int, int] | None:
    check_count("games", games, "give at least one game for each match")
    if simulations is not None:
        check_count("simulations", simulations, "leave it out for each run's own setting")
    check_seed(seed)
    if plies is not None and not 0 <= plies[0] <= plies[1]:
        raise ConfigError(f"opening_plies: {plies} is no range; give the least and the most, such as (2, 4) or (0, 0)")
    return plies


def _is_folder(name: str) -> bool:
    return Path(name).exists() or os.sep in name or "/" in name or "@" in name


def _agent(entrant: Entrant, number: int, simulations: int | None) -> AgentPlayer:
    """An agent, loaded where it is a run folder, and what to call it."""
    if isinstance(entrant, Agent):
        return AgentPlayer(entrant, "agent" if number == 0 else f"agent {number + 1}")
    folder, step = _at_step(entrant)
    loaded = api.load(folder, simulations=simulations, step=step)
    return AgentPlayer(loaded, folder.resolve().name + ("" if step is None else f"@{step}"))


def _at_step(entrant: str | os.PathLike) -> tuple[Path, int | None]:
    """A run folder, and of DIR@STEP the environment step."""
    folder, at, step = str(entrant).rpartition("@")
    if not at or Path(entrant).exists():
        return Path(entrant), None
    if not (step.isascii() and step.isdecimal()):
        raise ConfigError(f"{entrant}: {step!r} is no environment step; write DIR@STEP, such as {folder}@5000")
    return Path(folder), int(step)


def _game_of(agents: Sequence[AgentPlayer]) -> str:
    """The game of the first agent.

    Raises:
      EnvError: it is none of OpenSpiel's, or has one player.
    """
    spec = agents[0].agent.spec
    if spec.players < 2:
        raise EnvError(
            f"{agents[0].name}: {spec.id} has one player, so there is nobody to play against; "
            "use `muzen evaluate`, which plays episodes and reports returns"
        )
    if not spec.id.startswith(envs.PREFIX):
        raise EnvError(f"{agents[0].name}: {spec.id} is no game of OpenSpiel; the arena plays only those")
    return spec.id


def _same_game(env_id: str, players: Sequence[Player]) -> None:
    game = str(envs.load_game(env_id))
    for player in players:
        if isinstance(player, AgentPlayer):
            other = player.agent.spec.id
            if not other.startswith(envs.PREFIX) or str(envs.load_game(other)) != game:
                raise EnvError(
                    f"{player.name}: was trained for {other}, and this arena plays {env_id}; "
                    "name runs of one game, parameters included"
                )


def _name_apart(entrants: Sequence[Entrant], players: Sequence[Player]) -> None:
    """See to it that every name is there once: folders of the same name are called by their path."""
    names = [player.name for player in players]
    for entrant, player in zip(entrants, players, strict=True):
        if names.count(player.name) > 1 and not isinstance(entrant, Agent):
            player.name = str(entrant)
    names = [player.name for player in players]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"opponents: {name} is there twice; name every agent and opponent once")


class _Files:
    """What an arena leaves: arena-N.json, arena-N.png and games/arena-N.jsonl, N past all that are there."""

    def __init__(self, folder: Path):
        taken = (path.stem.rpartition("-")[2] for path in folder.glob("arena-*.json"))
        free = 1 + max((int(number) for number in taken if number.isdecimal()), default=0)
        # Made at once: of two arenas at a time each has files of its own, and a place that takes none is found early.
        self.games = new_games_file(games_folder(folder), "arena", free)
        self.result, self.plot = (folder / f"{self.games.stem}{suffix}" for suffix in (".json", ".png"))

    def keep(self, result: dict[str, Any], records: list[GameRecord]) -> None:
        """The result so far, and the games of one more match."""
        append_games(self.games, records)
        try:
            write_atomic(self.result, (json.dumps({"format": FORMAT, **result}, indent=2) + "\n").encode())
            arena_plot.draw(result, self.plot)
        except OSError as error:
            raise storage_error(self.result, error) from error

    def give_up(self) -> bool:
        """Leave nothing, where no match was kept; whether that was so."""
        empty = not self.result.exists()
        if empty:
            self.games.unlink(missing_ok=True)
        return empty

    def paths(self) -> dict[str, str]:
        return {"result": str(self.result), "plot": str(self.plot), "games": str(self.games)}
