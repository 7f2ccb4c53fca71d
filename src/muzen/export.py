"""Recorded games in the formats of other programs: chess as PGN, Go as SGF, each written by a library of its own."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from muzen.envs import PREFIX, load_game
from muzen.errors import ConfigError, EnvError
from muzen.files import write_atomic
from muzen.runs import GameRecord
from muzen.scoresheet import replay

_INSTALL = 'run: pip install "muzen[records]"'


def export(records: Sequence[GameRecord], path: str | Path) -> None:
    """Write games to a .pgn file (chess) or an .sgf file (Go), whole or not at all.

    What was thought at a move becomes its comment. A game that was not finished has no result.

    Args:
      records: all of one game, at least one.
      path: where to; its suffix says the format.

    Raises:
      ConfigError: the format is unknown, or not one for this game; the message says which is.
      EnvError: the library that writes it is not installed.
      RunError: a game contradicts its rules, or the disk refuses the file.
    """
    path = Path(path)
    game = records[0].game
    fits = {kind.suffix: kind for kind in KINDS if kind.game == game.partition("(")[0]}
    if path.suffix not in fits:
        known = ", ".join(f"{kind.suffix} for {kind.game}" for kind in KINDS)
        way_out = f"use {', '.join(fits)}" if fits else "its own file is what OpenSpiel replays"
        raise ConfigError(f"export: {path.name}: {game} cannot be written so; there are {known}: {way_out}")
    write_atomic(path, fits[path.suffix].write(records).encode())


def _pgn(records: Sequence[GameRecord]) -> str:
    chess = _library("chess.pgn", "PGN")
    return "".join(f"{_chess_game(chess, record, number)}\n\n" for number, record in enumerate(records, 1))


def _chess_game(pgn: ModuleType, record: GameRecord, number: int) -> Any:
    first, *_ = replay(record)  # all of it, which raises where the record contradicts the rules
    board = pgn.chess.Board(str(first))
    game = pgn.Game.without_tag_roster()
    game.setup(board)
    node = game
    for place, move in enumerate(record.moves):
        found = board.parse_san(move)
        board.push(found)
        node = node.add_variation(found, comment=_comment(record, place))
    # OpenSpiel's player 0 has the black pieces.
    black, white = record.players
    result = {None: "*", (1.0, -1.0): "0-1", (-1.0, 1.0): "1-0"}.get(record.returns, "1/2-1/2")
    date = str(record.info.get("date", "????.??.??")).replace("-", ".")[:10]
    tags = {"Event": "Muzen", "Site": "?", "Date": date, "Round": str(number)}
    for name, value in {**tags, "White": white, "Black": black, "Result": result}.items():
        game.headers[name] = value
    return game


def _sgf(records: Sequence[GameRecord]) -> str:
    sgf = _library("sgfmill.sgf", "SGF")
    return "".join(_go_game(sgf, record) + "\n" for record in records)


def _go_game(sgf: ModuleType, record: GameRecord) -> str:
    for _ in replay(record):
        pass  # raises where the record contradicts the rules
    parameters = load_game(PREFIX + record.game).get_parameters()
    size = parameters["board_size"]
    if parameters["handicap"]:
        raise ConfigError(f"export: {record.game} has a handicap, which cannot be written; export games without one")
    game = sgf.Sgf_game(size=size)
    root = game.get_root()
    root.set("KM", parameters["komi"])
    root.set("RU", "Chinese")
    for name, player in zip(("PB", "PW"), record.players, strict=True):
        root.set(name, player)
    if record.returns is not None:
        root.set("RE", "B+" if record.returns[0] > 0 else "W+" if record.returns[1] > 0 else "0")
    for place, (action, mover) in enumerate(zip(record.actions, record.movers, strict=True)):
        node = game.extend_main_sequence()
        node.set_move("bw"[mover], None if action == size * size else divmod(action, size))
        if comment := _comment(record, place):
            node.set("C", comment)
    return game.serialise().decode()


def _comment(record: GameRecord, place: int) -> str:
    said = record.comments[place] if record.comments else {}
    return ", ".join(f"{name} {value}" for name, value in said.items())


def _library(name: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise EnvError(f"export: {what} is written by {package}, which is not installed; {_INSTALL}") from error


class Kind(NamedTuple):
    """A format: the game it is for, and what writes it."""

    suffix: str
    game: str
    write: Callable[[Sequence[GameRecord]], str]


KINDS = (Kind(".pgn", "chess", _pgn), Kind(".sgf", "go", _sgf))
