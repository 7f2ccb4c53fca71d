"""Recorded games on the terminal: stepped through with keys, or every position printed where there is none."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from muzen.errors import ConfigError, RunNotFoundError
from muzen.export import export
from muzen.runs import GameRecord, games_folder, read_games
from muzen.runs.games import CHANCE, SUFFIX
from muzen.scoresheet import replay

KEYS = "→ next   ← back   ↑ ↓ other game   Home End   q quit"
_ESCAPES = {"[C": "next", "[D": "back", "[A": "earlier", "[B": "later", "[H": "first", "[F": "last"}
_ESCAPES |= {"OC": "next", "OD": "back", "OA": "earlier", "OB": "later", "OH": "first", "OF": "last"}
_ESCAPES |= {"[1~": "first", "[4~": "last"}
_LETTERS = {" ": "next", "\r": "next", "\n": "next", "n": "next", "b": "back", "j": "later", "k": "earlier"}
_LETTERS |= {"q": "quit", "Q": "quit", "\x03": "quit", "\x04": "quit", "": "quit"}
# Seconds in which the rest of an arrow key's sequence follows; a lone Escape quits.
_ESCAPE_S = 0.05
_WINDOWS = {"M": "next", "K": "back", "H": "earlier", "P": "later", "G": "first", "O": "last"}


def show(
    path: str | Path,
    *,
    game: int | None = None,
    console: Console | None = None,
    read_key: Callable[[], str] | None = None,
) -> None:
    """Replay the games of a file.

    Args:
      path: a file of games.
      game: which, counted from 1; all if left out.
      console: where to; standard output if left out.
      read_key: answers what to do next, see `KEYS`; default: the keyboard, if there is a terminal.

    Raises:
      ConfigError: there is no game of that number.
      RunError: the file cannot be used, or its game contradicts the rules.
    """
    path, console = Path(path), console or Console(highlight=False)
    records = _asked_for(path, game)
    if read_key is not None:
        _step_through(records, (game or 1) - 1, console, read_key)
        return
    if console.is_terminal and sys.stdin.isatty():
        with _keyboard() as keyboard:
            _step_through(records, (game or 1) - 1, console, keyboard)
        return
    numbers = range(len(records)) if game is None else [game - 1]
    for number in numbers:
        for place, state in enumerate(replay(records[number])):
            for text in _position(records, number, place, state, place == 0):
                console.print(text, soft_wrap=True)


def read(path: Path) -> list[GameRecord]:
    """The games of a file, at least one.

    Raises:
      RunNotFoundError: it is a folder, or holds no game; the message names the files that there are.
      RunError: as `read_games`.
    """
    if path.is_dir():
        folder = games_folder(path) if games_folder(path).is_dir() else path
        files = [] if (path / "config.json").exists() and folder == path else sorted(folder.glob(f"*{SUFFIX}"))
        there = f"name one of its files of games: {', '.join(map(str, files))}" if files else "it has no games yet"
        raise RunNotFoundError(f"{path}: is a folder; {there}")
    records = read_games(path)
    if not records:
        raise RunNotFoundError(f"{path}: holds no games")
    return records


def export_games(path: str | Path, out: Path, *, game: int | None = None) -> Path:
    """Write the games of a file, or one of them, to `out` in another format; returns `out`.

    Raises:
      ConfigError: there is no game of that number, or no such format for it.
      EnvError: the library that writes the format is not installed.
      RunError: a file cannot be used, or a game contradicts the rules.
    """
    records = _asked_for(Path(path), game)
    export(records if game is None else [records[game - 1]], out)
    return out


def games_table(path: Path) -> Table:
    """Every game of a file as a row. Raises as `read`."""
    table = Table(box=box.SIMPLE, title=Text(str(path)))
    table.add_column("game", justify="right")
    table.add_column("players")
    table.add_column("moves", justify="right")
    table.add_column("returns")
    for number, record in enumerate(read(path), 1):
        moves = sum(mover != CHANCE for mover in record.movers)
        table.add_row(str(number), Text(" – ".join(record.players)), str(moves), _result(record))
    return table


def _asked_for(path: Path, game: int | None) -> list[GameRecord]:
    """All the games of a file, if there is a game of that number. Raises as `read`, and ConfigError if there is not."""
    records = read(path)
    if game is not None and not 1 <= game <= len(records):
        raise ConfigError(f"game: {game} is none of the games 1 to {len(records)} of {path}")
    return records


def _step_through(records: list[GameRecord], number: int, console: Console, read_key: Callable[[], str]) -> None:
    states, place = list(replay(records[number])), 0
    while True:
        console.clear()
        for text in _position(records, number, place, states[place], True):
            console.print(text)
        console.print(Text(KEYS, style="dim"))
        key = read_key()
        if key == "quit":
            return
        if key in ("earlier", "later"):
            other = number + (1 if key == "later" else -1)
            if 0 <= other < len(records):
                number, states, place = other, list(replay(records[other])), 0
        moved = {"next": place + 1, "back": place - 1, "first": 0, "last": len(states) - 1}.get(key, place)
        place = min(max(moved, 0), len(states) - 1)


def _position(records: list[GameRecord], number: int, place: int, state: Any, titled: bool) -> Iterator[Text]:
    """A position, the move that led to it, and what was thought at that."""
    record = records[number]
    if titled:
        yield Text(f"game {number + 1} of {len(records)}: {record.game}", style="bold")
        yield Text(" – ".join(f"{name} (player {seat + 1})" for seat, name in enumerate(record.players)))
    if place == 0:
        yield Text("the start", style="dim")
    else:
        mover = record.movers[place - 1]
        who = "chance" if mover == CHANCE else record.players[mover]
        line = f"{place} of {len(record.actions)}: {record.moves[place - 1]} by {who}"
        taken = sum(other != CHANCE for other in record.movers[:place])
        if mover != CHANCE and taken <= record.info.get("opening", 0):
            line += " (opening)"
        said = record.comments[place - 1] if record.comments else {}
        yield Text(" · ".join([line, *(f"{name} {value}" for name, value in said.items())]), style="cyan")
    yield Text(str(state).rstrip("\n"))
    if place == len(record.actions):
        yield Text(_result(record), style="bold")
    yield Text("")


def _result(record: GameRecord) -> str:
    if record.returns is None:
        return "not finished"
    return ", ".join(f"{value:+g}" for value in record.returns)


@contextlib.contextmanager
def _keyboard() -> Iterator[Callable[[], str]]:
    """Gives keys as they are pressed, as what they stand for; '?' is one that stands for nothing."""
    if os.name == "nt":
        yield _windows_key
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor, termios.TCSANOW)  # and no flush: what was typed ahead counts
        yield functools.partial(_key, descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _key(descriptor: int) -> str:
    import select

    key = os.read(descriptor, 1).decode(errors="replace")
    if key != "\x1b":
        return _LETTERS.get(key, "?")
    rest = ""
    while len(rest) < 3 and rest not in _ESCAPES and select.select([descriptor], [], [], _ESCAPE_S)[0]:
        rest += os.read(descriptor, 1).decode(errors="replace")
    return _ESCAPES.get(rest, "?" if rest else "quit")


def _windows_key() -> str:
    import msvcrt

    key = msvcrt.getwch()  # pyright: ignore[reportAttributeAccessIssue]
    if key in "\x00\xe0":
        return _WINDOWS.get(msvcrt.getwch(), "?")  # pyright: ignore[reportAttributeAccessIssue]
    return _LETTERS.get(key, "?")
