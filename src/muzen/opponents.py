"""Opponents by name: `random`, `mcts:SIMULATIONS`, `minimax:DEPTH`, and `hold:POINTS` for pig.

What OpenSpiel has of them is OpenSpiel's.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from muzen.envs import PREFIX, load_game
from muzen.errors import ConfigError
from muzen.players import Move, Player, Position, Random

# UCT's exploration constant, and rollouts from each leaf: those of OpenSpiel's own example.
_UCT_C, _ROLLOUTS = 2.0, 1
_MEMORY_MB = 1000
# Values that differ by less count as equal: those of chance are sums of products.
_EQUAL = 1e-9
EXAMPLE = "random,mcts:100,minimax:5"


class Mcts:
    """OpenSpiel's MCTS: UCT with random rollouts, and its solver, which proves wins and losses where it can."""

    batch = 1

    def __init__(self, simulations: int):
        self.simulations, self.name = simulations, f"mcts:{simulations}"

    def choose(self, positions: Sequence[Position]) -> list[Move]:
        return [Move(self._step(position)) for position in positions]

    def _step(self, position: Position) -> int:
        seed = int(position.random().integers(2**31))
        return int(self.bot(position.state.get_game(), seed).step(position.state.clone()))

    def bot(self, game: Any, seed: int) -> Any:
        """The `pyspiel.MCTSBot`, new for each move, so that a move depends on nothing but its position and seed."""
        import pyspiel

        evaluator = pyspiel.RandomRolloutEvaluator(_ROLLOUTS, seed)
        return pyspiel.MCTSBot(game, evaluator, _UCT_C, self.simulations, _MEMORY_MB, True, seed, False)


class Minimax:
    """OpenSpiel's alpha-beta to a depth in plies, 0 at the horizon, and a random choice among the best moves.

    Where there is chance it is OpenSpiel's expectiminimax, whose depth does not count chance.
    """

    batch = 1

    def __init__(self, depth: int):
        self.depth, self.name = depth, f"minimax:{depth}"

    def choose(self, positions: Sequence[Position]) -> list[Move]:
        return [self._move(position) for position in positions]

    def _move(self, position: Position) -> Move:
        legal = position.state.legal_actions()
        values = np.array(self.values(position.state))
        best = np.flatnonzero(values >= values.max() - _EQUAL)
        return Move(legal[int(position.random().choice(best))], {"value": round(float(values.max()), 4)})

    def values(self, state: Any) -> list[float]:
        """What each legal action leads to, for the player to move."""
        import pyspiel
        from open_spiel.python.algorithms import minimax

        game, mover = state.get_game(), state.current_player()
        values = []
        for action in state.legal_actions():
            # Each move is searched by itself: alpha-beta knows the value of the best one only.
            child = state.child(action)
            if game.get_type().chance_mode == pyspiel.GameType.ChanceMode.DETERMINISTIC:
                found = minimax.alpha_beta_search(game, child, _nothing, self.depth - 1, mover)
            else:
                found = minimax.expectiminimax(child, self.depth - 1, _nothing, mover)
            values.append(float(found[0]))
        return values


def _nothing(state: Any) -> float:
    return 0.0


class Hold:
    """Pig's simplest good strategy: roll until the turn's points are enough, or win the game."""

    batch = 1
    _ROLL, _STOP = 0, 1

    def __init__(self, points: int):
        self.points, self.name = points, f"hold:{points}"

    def choose(self, positions: Sequence[Position]) -> list[Move]:
        return [Move(self._action(position.state)) for position in positions]

    def _action(self, state: Any) -> int:
        *scores, turn = map(int, re.findall(r"\d+", str(state).partition("\n")[0]))
        wins = scores[state.current_player()] + turn >= state.get_game().get_parameters()["winscore"]
        return self._STOP if turn >= self.points or wins else self._ROLL


class Kind(NamedTuple):
    """A kind of opponent: what its number means, an example, and what makes it."""

    number: str
    example: str
    make: Callable[[int], Player]


KINDS: dict[str, Kind] = {
    "random": Kind("", "random", lambda _: Random()),
    "mcts": Kind("SIMULATIONS", "mcts:100", Mcts),
    "minimax": Kind("DEPTH", "minimax:5", Minimax),
    "hold": Kind("POINTS", "hold:20", Hold),
}


def split_names(text: str) -> list[str]:
    """'random, mcts:100' as a list.

    Raises:
      ConfigError: a name is missing, or there twice.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ConfigError(f"opponents: {text!r} lacks a name between two commas; write {EXAMPLE}")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(f"opponents: {twice[0]} is there twice; name each opponent once")
    return names


def is_kind(name: str) -> bool:
    """Whether a name is of one of the opponents above, right or wrong in its number."""
    return name.partition(":")[0] in KINDS


def opponents(text: str, env_id: str) -> list[Player]:
    """The opponents of a list such as 'random,minimax:3'. Raises as `split_names` and `opponent` do."""
    return [opponent(name, env_id) for name in split_names(text)]


def opponent(name: str, env_id: str) -> Player:
    """The opponent of that name, for that game.

    Args:
      name: such as `mcts:100`.
      env_id: `openspiel:GAME(parameters)`; of other environments only `random` can be an opponent.

    Raises:
      ConfigError: there is no such opponent, or not for this game; the message says which there are.
    """
    kind, colon, number = name.partition(":")
    if kind not in KINDS:
        near = "".join(difflib.get_close_matches(kind, KINDS, n=1))
        meant = f"{near}:{number}" if near and KINDS[near].number and number else near and KINDS[near].example
        hint = f"did you mean {meant}? " if near else ""
        raise ConfigError(f"opponents: there is no opponent {name!r}; {hint}There are {_there_are()}")
    what, example, make = KINDS[kind]
    if not what and colon:
        raise ConfigError(f"opponents: {name}: {kind} takes no number; write {kind}")
    if what and not (number.isascii() and number.isdecimal() and len(number) < 11 and 1 <= int(number) < 2**31):
        given = repr(number[:40]) if number else "nothing"
        raise ConfigError(
            f"opponents: {name}: {what} must be a whole number of at least 1, not {given}; write {example}"
        )
    made = make(int(number or 0))
    reason = "" if isinstance(made, Random) else _unfit(made, env_id)
    if reason:
        raise ConfigError(f"opponents: {name} cannot play {env_id}: {reason}; choose another, such as random")
    return made


def _unfit(player: Player, env_id: str) -> str:
    """Why an opponent cannot play a game, or ''."""
    import pyspiel

    if not env_id.startswith(PREFIX):
        return "it plays OpenSpiel's games only"
    game = load_game(env_id)
    kind = game.get_type()
    if isinstance(player, Hold) and kind.short_name != "pig":
        return "it is a strategy of pig"
    if isinstance(player, Minimax) and (game.num_players() != 2 or kind.utility != pyspiel.GameType.Utility.ZERO_SUM):
        return "it is for two players, one of whom gains what the other loses"
    if isinstance(player, Mcts):
        try:
            player.bot(game, 0)
        except pyspiel.SpielError as error:
            return f"OpenSpiel's MCTS says: {str(error).partition(chr(10))[0].rstrip('.')}"
    return ""


def _there_are() -> str:
    return "random, mcts:SIMULATIONS, minimax:DEPTH, hold:POINTS (pig), and in the arena run folders"
