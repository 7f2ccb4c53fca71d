"""From a game that OpenSpiel plays to its record, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from muzen.envs import PREFIX, load_game
from muzen.errors import RunDamagedError
from muzen.runs import GameRecord


def write_down(
    state: Any,
    players: Sequence[str],
    *,
    comments: Mapping[int, dict[str, Any]] | None = None,
    info: dict[str, Any] | None = None,
) -> GameRecord:
    """The record of a game, finished or not.

    Args:
      state: the `pyspiel.State` that was reached.
      players: [P] who sat where.
      comments: on some of the actions, by their number in `state.full_history()`.
      info: see `GameRecord`.
    """
    game, history = state.get_game(), state.full_history()
    replayed, moves = game.new_initial_state(), []
    for ply in history:
        moves.append(replayed.action_to_string(ply.player, ply.action))
        replayed.apply_action(ply.action)
    return GameRecord(
        str(game),
        tuple(players),
        tuple(ply.action for ply in history),
        tuple(ply.player for ply in history),
        tuple(moves),
        tuple(map(float, state.returns())) if state.is_terminal() else None,
        tuple(comments.get(i, {}) for i in range(len(history))) if comments else (),
        dict(info or {}),
    )


def replay(record: GameRecord) -> Iterator[Any]:
    """Every state of a recorded game, the first and the last included: M + 1 `pyspiel.State`s for M actions.

    Raises:
      EnvError: OpenSpiel is not installed, or does not know the game.
      RunDamagedError: the actions are not legal, not the recorded players' or moves, or lead to other returns.
    """
    game = load_game(PREFIX + record.game)
    if game.num_players() != len(record.players):
        raise _damaged(record, f"names {len(record.players)} players, the game has {game.num_players()}")
    state = game.new_initial_state()
    yield state.clone()
    for number, (action, mover, move) in enumerate(zip(record.actions, record.movers, record.moves, strict=True), 1):
        if state.is_terminal():
            raise _damaged(record, f"goes on after its end, with action {number}")
        if state.current_player() != mover:
            raise _damaged(record, f"action {number} is player {mover}'s, but player {state.current_player()} moves")
        if action not in state.legal_actions():
            raise _damaged(record, f"action {number} ({action}) is not legal there")
        if (written := state.action_to_string(mover, action)).strip() != move.strip():
            raise _damaged(record, f"action {number} ({action}) is the move {written!r}, it says {move!r}")
        state.apply_action(action)
        yield state.clone()
    returns = tuple(state.returns()) if state.is_terminal() else None
    if returns != record.returns:
        raise _damaged(record, f"its actions lead to returns {returns}, it says {record.returns}")


def _damaged(record: GameRecord, reason: str) -> RunDamagedError:
    return RunDamagedError(f"record of {record.game}: {reason}; delete that game or restore the file")
