"""The JSON interface of the page: what is asked, in words of HTTP but without a socket.

GET  /api/games/ID                 the game
GET  /api/games/ID/positions/PLY   one position of it, and what the agent thinks there
GET  /api/games                    {asked}: what the server was started for, see `serve`
POST /api/games                    a new game: {seat, simulations, seed, moves}, all optional
POST /api/games/ID/move            {action, version}
POST /api/games/ID/reply           {version}: the agent's move
POST /api/games/ID/back            {version}
POST /api/games/ID/settings        {seat, simulations}
POST /api/games/ID/save            {}

`version` is of the game that the page has seen: where another tab was faster the answer is 409, with the game, as where
something cannot be done in the game as it stands. Errors are {"error": {"kind", "message"}}.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from muzen.errors import IllegalMoveError, MuzenError, PlayError, StorageError
from muzen.play import CHANCE, MOST_SIMULATIONS, GameSession, Position
from muzen.web.tables import Table, Tables

_MOST_MOVES = 20_000
_ROUTES = [
    (re.compile(r"/api/games"), {"GET": "about", "POST": "new"}),
    (re.compile(r"/api/games/(?P<id>[\w-]{1,64})"), {"GET": "show"}),
    (re.compile(r"/api/games/(?P<id>[\w-]{1,64})/positions/(?P<ply>\d{1,9})"), {"GET": "position"}),
    *(
        (re.compile(rf"/api/games/(?P<id>[\w-]{{1,64}})/{name}"), {"POST": name})
        for name in ("move", "reply", "back", "settings", "save")
    ),
]


class ApiError(Exception):
    """An answer other than 200: `status`, and what to say."""

    def __init__(self, status: int, kind: str, message: str, headers: dict[str, str] | None = None, **more: Any):
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.body = {"error": {"kind": kind, "message": message}, **more}


class Api:
    """Answers the page's questions about the games at `tables`."""

    def __init__(self, tables: Tables):
        self.tables = tables

    def answer(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """What to say to one request.

        Args:
          method: "GET" or "POST".
          path: without the query.
          body: parsed JSON of a POST.

        Raises:
          ApiError: anything that is wrong with the request; no game has changed.
        """
        for pattern, methods in _ROUTES:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if method not in methods:
                allowed = ", ".join(methods)
                raise ApiError(405, "MethodNotAllowed", f"{method}: not here; use {allowed}", {"Allow": allowed})
            try:
                return getattr(self, f"_{methods[method]}")(body=body, **match.groupdict())
            except IllegalMoveError as error:
                raise ApiError(400, "IllegalMoveError", str(error)) from error
            except StorageError as error:
                raise ApiError(507, "StorageError", str(error)) from error
            except MuzenError as error:
                raise ApiError(400, type(error).__name__, str(error)) from error
        raise ApiError(404, "NotFound", "there is nothing at this address")

    def _about(self, body: Any) -> dict[str, Any]:
        return {"asked": self.tables.asked}

    def _new(self, body: Any) -> dict[str, Any]:
        given = _fields(body, {"seat": (int, type(None)), "simulations": int, "seed": int, "moves": list})
        moves = given.pop("moves", [])
        if len(moves) > _MOST_MOVES or not all(_is(move, int) for move in moves):
            raise ApiError(400, "BadField", f"moves: is not a list of at most {_MOST_MOVES:,} whole numbers")
        if not 0 <= given.get("seed", 0) < 2**31:
            raise ApiError(400, "BadField", f"seed: {given['seed']} is not from 0 to {2**31 - 1}")
        table = self.tables.open(moves, **given)
        with table.lock:
            return game_json(table)

    def _show(self, id: str, body: Any) -> dict[str, Any]:
        table = self._table(id)
        with table.lock:
            return game_json(table)

    def _position(self, id: str, ply: str, body: Any) -> dict[str, Any]:
        table = self._table(id)
        with table.thinking:
            with table.lock, _telling(table):
                position = table.session.at(int(ply))
            if not position.now.terminated:
                table.session.think(position)
            with table.lock:
                if int(ply) > table.session.ply or table.session.at(int(ply)) is not position:
                    raise _stale(table)
                return position_json(table.session, int(ply), position)

    def _move(self, id: str, body: Any) -> dict[str, Any]:
        given = _fields(body, {"action": int, "version": int}, required=("action", "version"))
        return self._change(id, given["version"], lambda session: session.play(given["action"]))

    def _reply(self, id: str, body: Any) -> dict[str, Any]:
        given = _fields(body, {"version": int}, required=("version",))
        table = self._table(id)
        with table.thinking:
            with table.lock, _telling(table):
                _require(table, given["version"])
                position = table.session.agents_position()
            table.session.think(position)
            return self._change(id, given["version"], lambda session: session.reply())

    def _back(self, id: str, body: Any) -> dict[str, Any]:
        given = _fields(body, {"version": int}, required=("version",))
        return self._change(id, given["version"], lambda session: session.back())

    def _settings(self, id: str, body: Any) -> dict[str, Any]:
        given = _fields(body, {"seat": (int, type(None)), "simulations": int})

        def change(session: GameSession) -> None:
            # Both or neither: the second may be refused.
            before = session.simulations
            if "simulations" in given:
                session.choose_simulations(given["simulations"])
            try:
                if "seat" in given:
                    session.choose_seat(given["seat"])
            except MuzenError:
                session.choose_simulations(before)
                raise

        return self._change(id, None, change)

    def _save(self, id: str, body: Any) -> dict[str, Any]:
        _fields(body, {})
        return self._change(id, None, lambda session: session.save())

    def _table(self, id: str) -> Table:
        table = self.tables.find(id)
        if table is None:
            raise ApiError(404, "UnknownGame", f"{id}: there is no such game, or no longer; begin a new one")
        return table

    def _change(self, id: str, version: int | None, change: Any) -> dict[str, Any]:
        """Does something to a game, if it stands where the page believes it to; None: wherever it stands."""
        table = self._table(id)
        with table.lock, _telling(table):
            if version is not None:
                _require(table, version)
            change(table.session)
            table.version += version is not None
            return game_json(table)


def _require(table: Table, version: int) -> None:
    if version != table.version:
        raise _stale(table)


def _stale(table: Table) -> ApiError:
    message = "version: the game has moved on since; another page may have played"
    return ApiError(409, "Stale", message, game=game_json(table))


@contextlib.contextmanager
def _telling(table: Table) -> Iterator[None]:
    """What cannot be done in the game as it stands is told with the game: the page may believe in another."""
    try:
        yield
    except IllegalMoveError:
        raise
    except PlayError as error:
        raise ApiError(409, "PlayError", str(error), game=game_json(table)) from error


def game_json(table: Table) -> dict[str, Any]:
    """A game, as the page draws it."""
    session = table.session
    ply, moves = 0, []
    for move in session.moves:
        ply += move.player != CHANCE
        moves.append({"player": move.player, "action": move.action, "name": move.name, "ply": ply})
    return {
        "id": table.id,
        "version": table.version,
        "asked": table.asked,
        "game": session.name,
        "agent": session.agent_name,
        "players": [session.player_name(player) for player in range(session.players)],
        "seat": session.seat,
        "simulations": session.simulations,
        "most_simulations": MOST_SIMULATIONS,
        "seed": session.seed,
        "ply": session.ply,
        "to_play": session.to_play,
        "over": session.over,
        "agents_turn": session.agents_turn,
        "outcome": session.outcome(),
        "returns": session.returns,
        "moves": moves,
        "chances": session.chances(),
        "kept": str(session.kept) if session.kept is not None else None,
        "keep_error": session.keep_error,
        **_place_json(session, session.ply),
    }


def position_json(session: GameSession, ply: int, position: Position) -> dict[str, Any]:
    """One position, with what the agent has thought of it."""
    analysis = None if position.analysis is None else dataclasses.asdict(position.analysis)
    over = position.now.terminated
    return {"ply": ply, "over": over, "analysis": analysis, "chances": session.chances(), **_place_json(session, ply)}


def _place_json(session: GameSession, ply: int) -> dict[str, Any]:
    legal = [{"action": action, "name": name} for action, name in session.legal_moves(ply).items()]
    return {"text": str(session.at(ply).state), "legal": legal, "board": _board_json(session, ply)}


def _board_json(session: GameSession, ply: int) -> dict[str, Any] | None:
    reader, board = session.reader, session.board(ply)
    if reader is None or board is None:
        return None
    last = session.last_touch(ply)
    return {
        "cells": board.cells,
        "row_labels": board.row_labels,
        "column_labels": board.column_labels,
        "style": reader.style,
        "colours": reader.colours,
        "owners": reader.owners,
        "symbols": [reader.symbol(player) for player in range(session.players)],
        "drops": reader.drops,
        "slanted": reader.slanted,
        "moves_pieces": reader.moves_pieces,
        "last": [] if last is None else [cell for cell in last if cell is not None],
        "touched": {str(action): touch for action, touch in session.touched(ply).items()},
    }


def _fields(body: Any, kinds: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a body, if it has these and no others.

    Raises:
      ApiError: what is wrong with it.
    """
    if not isinstance(body, dict):
        raise ApiError(400, "BadBody", "the body is not a JSON object")
    for name in required:
        if name not in body:
            raise ApiError(400, "BadField", f"{name}: missing")
    for name, value in body.items():
        if name not in kinds:
            known = ", ".join(kinds) or "none"
            raise ApiError(400, "BadField", f"{name[:40]}: unknown field; there are: {known}")
        if not _is(value, kinds[name]):
            raise ApiError(400, "BadField", f"{name}: {str(value)[:40]} is of the wrong type")
    return dict(body)


def _is(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
