"""A game between a person and a trained agent: moves, replies, taking back, and what the agent thinks of it all.

`GameSession` is all that a front end needs; the terminal and the web page use nothing else.
"""

from __future__ import annotations

import datetime
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from muzen.agent import Agent
from muzen.analysis import Analysis, analysis, win_chances
from muzen.config import check_seed
from muzen.envs import Board, OpenSpielEnvironment, Touch, board_reader, require_alike
from muzen.envs.openspiel import PREFIX
from muzen.errors import ConfigError, EnvError, IllegalMoveError, PlayError, RunError
from muzen.notation import find_move, legal_text
from muzen.runs import GameRecord, games_folder, new_games_file, write_games
from muzen.runs.games import CHANCE
from muzen.search.tree import Tree
from muzen.types import EnvSpec, SearchResult, TimeStep

MOST_SIMULATIONS = 10_000


@dataclass(frozen=True)
class Move:
    """One thing that happened: a move of player 0..P-1, or of chance (-1)."""

    player: int
    action: int
    name: str


@dataclass
class Position:
    """The game after some moves: `moves` of them, those of chance included."""

    now: TimeStep
    state: Any
    moves: int
    analysis: Analysis | None = field(default=None)


class GameSession:
    """One game with a person in one seat and the agent in all others.

    Args:
      agent: of an OpenSpiel game.
      game: another variant of the agent's game, `openspiel:GAME(parameters)`, that looks the same to the agent;
        the agent's own if left out.
      seat: the person's, 0..P-1; None lets the agent play all of them.
      simulations: per move; the agent's own if left out.
      seed: of all chance; a fresh one if left out. After taking back, the same moves meet the same chance.
      run: run folder in whose games/ finished games are kept; None keeps none.

    Attributes:
      moves: everything that happened, chance included.
      kept: the file that holds the game, once it is kept, and `kept_moves` of its moves.
      keep_error: why it could not be kept, if it could not.

    Raises:
      EnvError: the agent plays no game, or another one.
      ConfigError: `seat`, `simulations` (1 to 10,000) or `seed` is out of range.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        game: str | None = None,
        seat: int | None = 0,
        simulations: int | None = None,
        seed: int | None = None,
        run: Path | str | None = None,
    ):
        self._env = _open_game(agent.spec, game)
        self.name, self.players = self._env.name, self._env.spec.players
        self.reader = board_reader(self.name)
        self.run = run
        self._agent = agent
        self.seat: int | None = None
        if seed is not None:
            check_seed(seed)
        self.choose_seat(seat)
        self.simulations = 0
        self.choose_simulations(agent.planner.simulations if simulations is None else simulations)
        self.restart(seed)

    # --- the game ------------------------------------------------------------------------------------------------
    def restart(self, seed: int | None = None) -> None:
        """Begin a new game."""
        self.seed = secrets.randbits(31) if seed is None else seed
        self.kept: Path | None = None
        self.kept_moves = 0
        self.keep_error = ""
        self.moves: list[Move] = []
        self._positions: list[Position] = []
        self._walker = self._env.game.new_initial_state()
        self._tree: Tree | None = None
        self._arrive(self._env.reset(self.seed))

    @property
    def position(self) -> Position:
        """Where the game stands."""
        return self._positions[-1]

    @property
    def ply(self) -> int:
        """Decisions so far, which number the positions; moves of chance don't count."""
        return len(self._positions) - 1

    @property
    def over(self) -> bool:
        """Whether the game is finished."""
        return self.position.now.terminated

    @property
    def to_play(self) -> int:
        """Who moves; of a finished game, nobody does."""
        return self.position.now.to_play

    @property
    def persons_turn(self) -> bool:
        """Whether the person is to move."""
        return not self.over and self.to_play == self.seat

    @property
    def agents_turn(self) -> bool:
        """Whether the agent is to move."""
        return not self.over and self.to_play != self.seat

    @property
    def returns(self) -> list[float]:
        """[P] what each player has got so far."""
        return [float(x) for x in self.position.state.returns()]

    def at(self, ply: int | None = None) -> Position:
        """The position after `ply` decisions; the present one if left out.

        Raises:
          PlayError: the game has not got so far.
        """
        if ply is None:
            return self.position
        if not 0 <= ply <= self.ply:
            raise PlayError(f"ply: {ply} is outside 0..{self.ply}, the positions of this game so far")
        return self._positions[ply]

    def legal_moves(self, ply: int | None = None) -> dict[int, str]:
        """The legal actions of a position and what the game calls them; none once it is over."""
        state = self.at(ply).state
        if state.is_terminal():
            return {}
        return {action: state.action_to_string(state.current_player(), action) for action in state.legal_actions()}

    def board(self, ply: int | None = None) -> Board | None:
        """The board of a position, or None for a game without one."""
        return None if self.reader is None else self.reader.read(self.at(ply).state)

    def touched(self, ply: int | None = None) -> dict[int, Touch]:
        """The cells of a position's legal moves, as far as they touch any."""
        state = self.at(ply).state
        return {} if self.reader is None or state.is_terminal() else self.reader.touched(state)

    def last_touch(self, ply: int | None = None) -> Touch | None:
        """The cells of the move that led to a position."""
        index = self.ply if ply is None else ply
        if self.reader is None or index == 0:
            return None
        before = self.at(index - 1)
        action = self.moves[before.moves].action
        return self.reader.touch(self.reader.read(before.state), before.state, action)

    def find_move(self, text: str) -> int:
        """The action that a person means: its name, its number, or an end of the name that only it has.

        Raises:
          IllegalMoveError: no legal move is called so, or several are; the message says what is legal.
        """
        return find_move(text, self.legal_moves(), self._env.spec.num_actions)

    def legal_text(self) -> str:
        """The legal moves, in words."""
        return legal_text(self.legal_moves())

    def play(self, action: int) -> None:
        """The person's move.

        Raises:
          PlayError: it is not the person's turn, or the game is over.
          IllegalMoveError: the move is not legal; the message says which are.
        """
        if self.over:
            raise PlayError("the game is over; take a move back, or begin a new one")
        if not self.persons_turn:
            raise PlayError(f"it is not your turn: {self.player_name(self.to_play)} is to move")
        if action not in self.legal_moves():
            raise IllegalMoveError(f"{action}: is not a legal move; {self.legal_text()}")
        self._step(action)

    def reply(self) -> Analysis:
        """The agent's move: searches, plays, and tells what it thought.

        Raises:
          PlayError: it is not the agent's turn, or the game is over.
        """
        thought = self.think(self.agents_position())
        self._step(thought.action)
        return thought

    def agents_position(self) -> Position:
        """The position in which the agent is to move.

        Raises:
          PlayError: it is not the agent's turn, or the game is over.
        """
        if not self.agents_turn:
            raise PlayError("the game is over" if self.over else "it is your turn, not the agent's")
        return self.position

    def back(self) -> None:
        """Take back to the person's turn before; where the agent plays alone, its last move.

        Raises:
          PlayError: there is nothing to take back.
        """
        target = self.ply - 1
        while self.seat is not None and target >= 0 and self._positions[target].now.to_play != self.seat:
            target -= 1
        if target < 0:
            raise PlayError("there is nothing to take back")
        actions = self._actions()[:target]
        del self._positions[target + 1 :]
        del self.moves[self.position.moves :]
        self._walker = self.position.state.clone()
        self.kept, self.keep_error = None, ""
        # The seed and the same moves bring the environment to the same place, chance included.
        self._env.reset(self.seed)
        for action in actions:
            self._env.step(action)

    def restore(self, actions: list[int]) -> None:
        """Play a whole line of decisions from the beginning, whoever's they were.

        Raises:
          IllegalMoveError: one of them is not legal; the game is as it was.
        """
        before = self.seed, self._actions()
        self.restart(self.seed)
        for action in actions:
            if action not in self.legal_moves():
                text = f"{action}: is not a legal move at ply {self.ply}; {self.legal_text()}"
                self.restart(before[0])
                for old in before[1]:
                    self._arrive(self._env.step(old))
                raise IllegalMoveError(text)
            self._arrive(self._env.step(action))

    # --- choices -------------------------------------------------------------------------------------------------
    def choose_seat(self, seat: int | None) -> None:
        """Sit somewhere else, at any time; None lets the agent play all seats.

        Raises:
          ConfigError: there is no such seat.
        """
        if seat is not None and not (_is_int(seat) and 0 <= seat < self.players):
            raise ConfigError(f"seat: {seat!r} is not one of 0..{self.players - 1}, the seats of {self.name}")
        self.seat = seat

    def choose_simulations(self, simulations: int) -> None:
        """How long the agent thinks from now on.

        Raises:
          ConfigError: out of range.
        """
        if not _is_int(simulations) or not 1 <= simulations <= MOST_SIMULATIONS:
            raise ConfigError(f"simulations: {simulations!r} is not a whole number from 1 to {MOST_SIMULATIONS}")
        self._agent, self.simulations = self._agent.with_simulations(simulations), simulations

    def find_seat(self, text: str) -> int | None:
        """The seat that a person means: 1 to the number of players, a piece such as "x", or "watch" for none.

        Raises:
          ConfigError: there is no such seat; the message says which there are.
        """
        seats: dict[str, int | None] = {str(player + 1): player for player in range(self.players)}
        seats |= {self.symbol(player): player for player in range(self.players) if self.symbol(player)}
        seats["watch"] = None
        meant = [seat for name, seat in seats.items() if name.casefold() == text.casefold()]
        # "x" will do for "X", but not where the players are "C" and "c".
        if text not in seats and len(meant) != 1:
            raise ConfigError(f"side: {text!r} is no side of {self.name}; choose one of {', '.join(seats)}")
        return seats[text] if text in seats else meant[0]

    @property
    def agent_name(self) -> str:
        """What to call the agent."""
        return f"agent ({self._agent.env_steps} steps)"

    def player_name(self, player: int) -> str:
        """What to call a player: "player 1 (x)"."""
        if player == CHANCE:
            return "chance"
        symbol = self.symbol(player)
        return f"player {player + 1} ({symbol})" if symbol else f"player {player + 1}"

    def outcome(self) -> str:
        """How a finished game ended, in words; empty while it goes on."""
        if not self.over:
            return ""
        returns = self.returns
        if self.players == 1:
            return f"The game is over: {returns[0]:g}"
        best = [player for player in range(self.players) if returns[player] == max(returns)]
        if len(best) == self.players:
            return "The game is a draw"
        if best == [self.seat]:
            return "You have won"
        names = " and ".join(self.player_name(player) for player in best)
        return f"{names[0].upper()}{names[1:]} {'has' if len(best) == 1 else 'have'} won"

    def symbol(self, player: int) -> str:
        """A player's piece, as people call it; empty where there is none."""
        if self.reader is None or self.players == 1:
            return ""
        if self.reader.style == "chess":
            return "white" if self.reader.owners["P"] == player else "black"
        return self.reader.symbol(player)

    # --- what the agent thinks -----------------------------------------------------------------------------------
    def analyse(self, ply: int | None = None) -> Analysis:
        """What the agent thinks of a position, with the present number of simulations; remembered.

        Raises:
          PlayError: the game was over there, so that there is nothing to think of.
        """
        position = self.at(ply)
        if position.now.terminated:
            raise PlayError("the game was over there: there is nothing to think about")
        return self.think(position)

    def think(self, position: Position) -> Analysis:
        """`analyse` of a position that is not the game's end. It does not touch the game, which may go on beside it."""
        agent, thought = self._agent, position.analysis
        simulations = agent.planner.simulations
        if thought is None or thought.simulations != simulations:
            thought = position.analysis = analysis(
                self._env.spec, position.state, simulations, self._search(agent, position)
            )
        return thought

    def chances(self) -> list[list[float] | None]:
        """[P] chances to win of every position that the agent has thought of; None for the others.

        A draw is half a win. The end of a game is its outcome.
        """
        found: list[list[float] | None] = []
        for position in self._positions:
            chance = position.analysis.chance if position.analysis is not None else None
            if position.now.terminated:
                chance = win_chances(self._env.spec, position.state.returns())
            found.append(None if chance is None else list(chance))
        return found

    def _search(self, agent: Agent, position: Position) -> SearchResult:
        """The one way from a position to what the search says of it; from there the next one goes on, where the agent
        reuses trees."""
        now = position.now
        found = agent.search(now.observation, now.legal, now.to_play, state=position.state, previous=self._tree)
        self._tree = found.tree if agent.planner.reuse_tree else None
        return found

    # --- records -------------------------------------------------------------------------------------------------
    def record(self) -> GameRecord:
        """The game so far, as it is kept."""
        comments: list[dict[str, Any]] = [{} for _ in self.moves]
        for position in self._positions[:-1]:
            if (thought := position.analysis) is not None:
                told = {"value": thought.value[thought.to_play], "simulations": thought.simulations}
                comments[position.moves] = told
        return GameRecord(
            self.name.removeprefix(PREFIX),
            tuple("person" if player == self.seat else self.agent_name for player in range(self.players)),
            tuple(move.action for move in self.moves),
            tuple(move.player for move in self.moves),
            tuple(move.name for move in self.moves),
            tuple(self.returns) if self.over else None,
            tuple(comments),
            {"seed": self.seed, "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")},
        )

    def save(self) -> Path:
        """Keep the game, finished or not, in the run folder's games/; saving again replaces what was saved of it.

        Raises:
          PlayError: no run folder was given.
          StorageError: the file cannot be written.
        """
        if self.run is None:
            raise PlayError("this game belongs to no run folder, so there is nowhere to keep it")
        path = self.kept or new_games_file(games_folder(self.run), "play")
        try:
            write_games(path, [self.record()])
        except BaseException:
            if self.kept is None:
                path.unlink(missing_ok=True)  # it holds no game
            raise
        self.kept, self.kept_moves = path, len(self.moves)
        return path

    # --- inside --------------------------------------------------------------------------------------------------
    def _actions(self) -> list[int]:
        """The decisions so far."""
        return [move.action for move in self.moves if move.player != CHANCE]

    def _step(self, action: int) -> None:
        self._arrive(self._env.step(action))
        if self.over and self.run is not None:
            try:
                self.save()
            except RunError as error:  # the game goes on: a full disk must not lose it
                self.keep_error = str(error)

    def _arrive(self, now: TimeStep) -> None:
        """Remember a position and, one by one, what led to it."""
        state = self._env.state.clone()
        for entry in state.full_history()[len(self.moves) :]:
            player = CHANCE if self._walker.is_chance_node() else entry.player
            name = self._walker.action_to_string(self._walker.current_player(), entry.action).strip()
            self._walker.apply_action(entry.action)
            self.moves.append(Move(player, entry.action, name))
        self._positions.append(Position(now, state, len(self.moves)))


def _open_game(spec: EnvSpec, game: str | None) -> OpenSpielEnvironment:
    """The agent's game, or a variant that looks the same to it."""
    if not spec.id.startswith(PREFIX):
        raise EnvError(
            f"{spec.id}: is no game, so there is no one to play against; `muzen record DIR` shows how the agent does it"
        )
    env = OpenSpielEnvironment(game or spec.id)
    require_alike(spec, env.spec)
    return env


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
