"""The JSON interface of the page: what is asked, in words of HTTP but without a socket.

GET  /api/games/ID                 the game
GET  /api/games/ID/positions/PLY   one position of it, and what the agent thinks there
GET  /api/games                    {asked}: what the server was started for, see `serve`
POST /api/games                    a new game: {seat, simulations, seed, moves}, all optional
POST /api/games/ID/move            {action, ply}
POST /api/games/ID/reply           {ply}: the agent's move
POST /api/games/ID/back            {ply}
POST /api/games/ID/settings        {seat, simulations}
POST /api/games/ID/save            {}

`ply` is the number of decisions that the page has seen: where another tab was faster the answer is 409, with the game.
Errors are {"error": {"kind", "message"}}.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from muzen.errors import IllegalMoveError, MuzenError, PlayError, StorageError
from muzen.play import CHANCE, MOST_SIMULATIONS, GameSession
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
            except PlayError as error:
                raise ApiError(409, "PlayError", str(error)) from error
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
        with table.lock:
            return position_json(table.session, int(ply))

    def _move(self, id: str, body: Any) -> dict[str, Any]:
        given = _fields(body, {"action": int, "ply": int}, required=("action", "ply"))
        return self._change(id, given["ply"], lambda session: session.play(given["action"]))

    def _reply(self, id: str, body: Any) -> dict[str, Any]:
        given = _fields(body, {"ply": int}, required=("ply",))
        return self._change(id, given["ply"], lambda session: session.reply())

    def _back(self, id: str, body: Any) -> dict[str, Any]:
        given = _fields(body, {"ply": int}, required=("ply",))
        return self._change(id, given["ply"], lambda session: session.back())

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

    def _change(self, id: str, ply: int | None, change: Any) -> dict[str, Any]:
        """Does something to a game, if it stands where the page believes it to."""
        table = self._table(id)
        with table.lock:
            if ply is not None and ply != table.session.ply:
                message = f"ply: the game is at {table.session.ply} by now, not at {ply}; another page may have moved"
                raise ApiError(409, "Stale", message, game=game_json(table))
            change(table.session)
            return game_json(table)


def game_json(table: Table) -> dict[str, Any]:
    """A game, as the page draws it."""
    session = table.session
    ply, moves = 0, []
    for move in session.moves:
        ply += move.player != CHANCE
        moves.append({"player": move.player, "action": move.action, "name": move.name, "ply": ply})
    return {
        "id": table.id,
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


def position_json(session: GameSession, ply: int) -> dict[str, Any]:
    """One position, with what the agent thinks of it unless the game was over there."""
    over = session.at(ply).now.terminated
    analysis = None if over else dataclasses.asdict(session.analyse(ply))
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
