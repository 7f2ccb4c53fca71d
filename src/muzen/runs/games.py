"""Records of games: text files in a run folder's games/, a game a line, which OpenSpiel can replay.

    {"muzen_games": 1}
    {"game": "tic_tac_toe()", "players": ["agent", "random"], "actions": [4, 0, ...], "movers": [0, 1, ...], ...}

The first line is the format's version, every other line a `GameRecord`. To replay one without Muzen:

    state = pyspiel.load_game(record["game"]).new_initial_state()
    for action in record["actions"]:
        state.apply_action(action)
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from muzen.errors import RunDamagedError, RunNotFoundError, RunVersionError
from muzen.files import storage_error, write_atomic

GAMES_FOLDER, SUFFIX = "games", ".jsonl"
# Those of the evaluation at the end of training.
EVALUATION_GAMES = f"evaluation{SUFFIX}"
GAMES_FORMAT = 1
# Who makes a move of chance, as OpenSpiel numbers it.
CHANCE = -1
_VERSION = "muzen_games"
_HEAD = json.dumps({_VERSION: GAMES_FORMAT}) + "\n"


@dataclass(frozen=True)
class GameRecord:
    """One game, finished or not.

    Attributes:
      game: OpenSpiel's string, parameters included and without Muzen's prefix: "connect_four(rows=5)".
      players: [P] who sat where.
      actions: [M] every action in order, those of chance included.
      movers: [M] whose action it was: a player 0..P-1, or `CHANCE`.
      moves: [M] the same as people write them, such as "x(1,1)".
      returns: [P] what each player got; None if the game was not finished.
      comments: [M] what was thought at each move, such as {"value": 0.31, "simulations": 16}, an empty dictionary
        where nothing was; or empty if nobody commented.
      info: anything else about the game that JSON can hold: "seed", "opening" (moves before the players chose), "date".

    Raises:
      ValueError: lengths or numbers contradict each other; the message says which.
    """

    game: str
    players: tuple[str, ...]
    actions: tuple[int, ...]
    movers: tuple[int, ...]
    moves: tuple[str, ...]
    returns: tuple[float, ...] | None = None
    comments: tuple[dict[str, Any], ...] = ()
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        number = len(self.actions)
        if not self.game or not self.players:
            raise ValueError("game and players must not be empty")
        for name, given in (("movers", self.movers), ("moves", self.moves), ("comments", self.comments)):
            if len(given) != number and (name != "comments" or given):
                raise ValueError(f"{name}: {len(given)} of them for {number} actions; there must be one for each")
        if any(action < 0 for action in self.actions):
            raise ValueError(f"actions: {min(self.actions)} is below 0")
        if any(not CHANCE <= mover < len(self.players) for mover in self.movers):
            raise ValueError(f"movers: each must be {CHANCE} (chance) to {len(self.players) - 1}, the last player")
        if self.returns is not None and len(self.returns) != len(self.players):
            raise ValueError(f"returns: {len(self.returns)} of them for {len(self.players)} players")
        if self.returns is not None and not all(map(math.isfinite, self.returns)):
            raise ValueError(f"returns: {self.returns} are not all finite")
        if not _is(opening := self.info.get("opening", 0), int) or opening < 0:
            raise ValueError(f"info.opening: {opening!r} is no number of moves")


def games_folder(run: Path | str) -> Path:
    """Where the games of a run lie."""
    return Path(run) / GAMES_FOLDER


def new_games_file(folder: Path | str, name: str, first: int = 1) -> Path:
    """Make the first of FOLDER/NAME-1.jsonl, NAME-2.jsonl, ... that is not there yet, as a file of no games.

    It is there from then on, so that nobody else chooses the same name.

    Args:
      folder: made if it is not there.
      name: what the file's name begins with.
      first: the number to begin at.

    Raises:
      StorageError: it cannot be written.
    """
    number = first
    while True:
        path = Path(folder) / f"{name}-{number}{SUFFIX}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "x", encoding="utf-8", newline="\n")  # noqa: SIM115 - one that is there is no error
        except FileExistsError as error:
            if not path.exists():  # the folder is a file
                raise storage_error(path, error) from error
            number += 1
            continue
        except OSError as error:
            raise storage_error(path, error) from error
        try:
            with file:
                file.write(_HEAD)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise storage_error(path, error) from error
        return path


def write_games(path: Path | str, records: Iterable[GameRecord]) -> Path:
    """Write a file of games, whole or not at all; folders are made, an old file is replaced.

    Returns:
      `path`.

    Raises:
      StorageError: it cannot be written; an old file is as it was.
    """
    path = Path(path)
    lines = [_line(record) for record in records]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(path, error) from error
    write_atomic(path, (_HEAD + "".join(line + "\n" for line in lines)).encode())
    return path


def append_games(path: Path | str, records: Iterable[GameRecord]) -> Path:
    """Add games to a file, which is made if it is not there; either all are added or none.

    Raises:
      StorageError: as `write_games`.
      RunDamagedError, RunVersionError: as `read_games`; nothing is written then.
    """
    path = Path(path)
    return write_games(path, [*(read_games(path) if path.exists() else []), *records])


def read_games(path: Path | str) -> list[GameRecord]:
    """Every game of a file.

    Raises:
      RunNotFoundError: the file is not there.
      RunVersionError: a newer Muzen wrote it.
      RunDamagedError: it is no file of games, or a line of it was altered or cut short; the message names the line.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise RunNotFoundError(f"{path}: no such file; games lie in the folder {GAMES_FOLDER}/ of a run") from error
    except OSError as error:
        raise RunDamagedError(f"{path}: cannot be read ({error.strerror or error})") from error
    head, *lines = data.split(b"\n")
    version = _parsed(head)
    number = version.get(_VERSION) if isinstance(version, dict) else None
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise RunDamagedError(
            f'{path}: is no file of games: its first line is not {{"{_VERSION}": {GAMES_FORMAT}}}; '
            f"games lie in the folder {GAMES_FOLDER}/ of a run"
        )
    if number > GAMES_FORMAT:
        raise RunVersionError(
            f"{path}: was written in format {number}, and this Muzen reads up to {GAMES_FORMAT}; "
            "upgrade with `pip install --upgrade muzen`"
        )
    if not lines or lines.pop():
        raise RunDamagedError(f"{path}: line {len(lines) + 2} is cut short; delete the line or restore the file")
    return [_record(line, f"{path}: line {i}") for i, line in enumerate(lines, 2)]


def _line(record: GameRecord) -> str:
    return json.dumps(dataclasses.asdict(record), allow_nan=False, ensure_ascii=False)


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


# What a line may hold: for every field whether it is a list, and of what.
_LISTS = {"players": str, "actions": int, "movers": int, "moves": str, "returns": float, "comments": dict}
_REQUIRED = ("game", "players", "actions", "movers", "moves", "returns")


def _record(line: bytes, where: str) -> GameRecord:
    data = _parsed(line)
    way_out = "delete the line or restore the file"
    if not isinstance(data, dict):
        raise RunDamagedError(f"{where} is not a JSON object; {way_out}")
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise RunDamagedError(f"{where} holds text that cannot be written ({error.reason}); {way_out}") from error
    names = [f.name for f in dataclasses.fields(GameRecord)]
    for name in (*_REQUIRED, *data):
        if name not in data or name not in names:
            state = "missing" if name not in data else "unknown"
            raise RunDamagedError(f"{where}: {name}: {state}; {way_out}")
    values = dict(data)
    for name, kind in _LISTS.items():
        value = data.get(name, [])
        if name == "returns" and value is None:
            continue
        if not isinstance(value, list) or not all(_is(entry, kind) for entry in value):
            raise RunDamagedError(f"{where}: {name}: is not a list of {kind.__name__}; {way_out}")
        values[name] = tuple(value)
    for name, kind in (("game", str), ("info", dict)):
        if not isinstance(data.get(name, kind()), kind):
            raise RunDamagedError(f"{where}: {name}: is not of type {kind.__name__}; {way_out}")
    try:
        if values["returns"] is not None:
            values["returns"] = tuple(map(float, values["returns"]))
        return GameRecord(**values)
    except (ValueError, OverflowError) as error:
        raise RunDamagedError(f"{where}: {error}; {way_out}") from error


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)
