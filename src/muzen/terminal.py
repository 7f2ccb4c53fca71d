"""Playing against an agent in the terminal, or through a pipe: a line of text in, the board and what happened out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from muzen.analysis import Analysis
from muzen.envs import Board, Touch
from muzen.errors import ConfigError, MuzenError, PlayError
from muzen.play import CHANCE, GameSession, Move

HELP = """\
  a move         by its name or its number; `moves` lists them
  moves          the legal moves
  hint           what the agent thinks of this position (also: analyse)
  back           take back to your turn before
  side N         sit in another player's seat; `side watch` lets the agent play alone, Enter is then its next move
  simulations N  how long the agent thinks
  new            begin a new game
  save           keep an unfinished game in the run folder; a finished one is kept by itself
  quit           end; so do Ctrl-D and Ctrl-C"""
# Moves shown by `hint`.
_SHOWN = 8
_SPARKS = "▁▂▃▄▅▆▇█"
_COLOURS = {"dark": "bold cyan", "light": "bold yellow", "red": "bold red", "yellow": "bold yellow"}
_PLAYERS = ("bold cyan", "bold yellow", "bold magenta", "bold green")


class Terminal:
    """The game in a terminal.

    Args:
      session: the game.
      console: to write to; a terminal or not.
      read: asks for a line with a prompt, and raises EOFError when there are no more.
    """

    def __init__(self, session: GameSession, console: Console | None = None, read: Callable[[str], str] | None = None):
        self.session = session
        self.console = console or Console(highlight=False)
        self._read = read or self._ask
        self._told = 0
        self._commands: dict[str, Callable[[str], None]] = {
            "moves": self._moves,
            "hint": self._hint,
            "analyse": self._hint,
            "analyze": self._hint,
            "back": self._back,
            "undo": self._back,
            "side": self._side,
            "simulations": self._simulations,
            "new": self._new,
            "save": self._save,
            "help": self._help,
            "?": self._help,
        }

    def run(self) -> int:
        """Plays until the person has enough; returns the exit code."""
        try:
            self._welcome()
            while True:
                self._replies()
                try:
                    line = self._read(self._prompt()).strip()
                except EOFError:
                    self.console.print()
                    break
                if line.casefold() in ("quit", "exit", "q"):
                    break
                self._do(line)
        except KeyboardInterrupt:
            self.console.print()
        self._farewell()
        return 0

    def _do(self, line: str) -> None:
        """One line that the person typed; whatever is wrong with it is said, and changes nothing."""
        word, _, rest = line.partition(" ")
        command = self._commands.get(word.casefold())
        try:
            if not line:
                self._enter()
            elif command is not None and line not in self.session.legal_moves().values():
                command(rest.strip())
            elif self.session.over:
                raise PlayError("the game is over; `new` begins another, `back` takes a move back, `quit` ends")
            else:
                self.session.play(self.session.find_move(line))
                self._happened()
        except MuzenError as error:
            self._say(str(error), "red")

    def _enter(self) -> None:
        if self.session.seat is None and self.session.agents_turn:
            self._reply()

    def _replies(self) -> None:
        while self.session.seat is not None and self.session.agents_turn:
            self._reply()

    def _reply(self) -> None:
        with self.console.status("thinking"):
            thought = self.session.reply()
        self._happened(thought)

    # --- commands ------------------------------------------------------------------------------------------------
    def _moves(self, _: str) -> None:
        legal = self.session.legal_moves()
        if not legal:
            return self._say(self.session.legal_text())
        width = max(len(f"{action} {name}") for action, name in legal.items()) + 3
        columns = max(1, min(self.console.width, 100) // width)
        cells = [f"{action:>{len(str(max(legal)))}} {name}".ljust(width) for action, name in legal.items()]
        for start in range(0, len(cells), columns):
            self._say("".join(cells[start : start + columns]).rstrip())

    def _hint(self, _: str) -> None:
        with self.console.status("thinking"):
            thought = self.session.analyse()
        self.console.print(self._thoughts(thought))
        if thought.line:
            self._say(f"expects  {' '.join(thought.line)}")
        self._say(self._worth(thought))
        chances = [chance[self._viewer()] for chance in self.session.chances() if chance is not None]
        if len(chances) > 1:
            self._say(f"over the game  {''.join(_SPARKS[min(7, int(8 * chance))] for chance in chances)}")

    def _back(self, _: str) -> None:
        self.session.back()
        self._told = len(self.session.moves)
        self._show()

    def _side(self, text: str) -> None:
        self.session.choose_seat(self.session.find_seat(text))
        self._say(self._seats())

    def _simulations(self, text: str) -> None:
        if not (text.isdecimal() and len(text) < 10):
            raise ConfigError(
                f"simulations: {text[:40] or 'nothing'} is not a whole number; for instance: simulations 50"
            )
        self.session.choose_simulations(int(text))
        self._say(f"the agent now thinks for {self.session.simulations} simulations")

    def _new(self, _: str) -> None:
        self.session.restart()
        self._told = 0
        self._begin()

    def _save(self, _: str) -> None:
        self._say(f"kept in {self.session.save()}")

    def _help(self, _: str) -> None:
        self._say(HELP)

    # --- what is shown -------------------------------------------------------------------------------------------
    def _welcome(self) -> None:
        session = self.session
        self._say(f"{session.name}, {session.simulations} simulations a move. {self._seats()}; `help` lists commands.")
        self._begin()

    def _begin(self) -> None:
        for move in self.session.moves:
            self._say(f"{self.session.player_name(move.player)}: {move.name}")
        self._told = len(self.session.moves)
        self._show()

    def _seats(self) -> str:
        session = self.session
        return "The agent plays alone" if session.seat is None else f"You are {session.player_name(session.seat)}"

    def _prompt(self) -> str:
        session = self.session
        if session.over:
            return "the game is over> "
        return "Enter: next move> " if session.seat is None else f"{session.player_name(session.to_play)}> "

    def _happened(self, thought: Analysis | None = None) -> None:
        """Everything new since the last time, and the board."""
        session = self.session
        for move in session.moves[self._told :]:
            own = thought if thought is not None and move.player == thought.to_play else None
            self._say(f"{self._who(move)}: {move.name}{f'   {self._worth(own)}' if own else ''}")
        self._told = len(session.moves)
        self._show()
        if session.over:
            self._say(session.outcome(), "bold")
            if session.kept is not None:
                self._say(f"kept in {session.kept}")
            elif session.keep_error:
                self._say(f"the game could not be kept: {session.keep_error}", "red")

    def _who(self, move: Move) -> str:
        name = self.session.player_name(move.player)
        if move.player == CHANCE:
            return name
        return f"{name}, {'you' if move.player == self.session.seat else 'the agent'}"

    def _viewer(self) -> int:
        return self.session.seat or 0

    def _worth(self, thought: Analysis) -> str:
        viewer = self._viewer()
        if thought.chance is None:
            return f"still to come, it thinks: {points(thought.value[viewer])}"
        whose = "your chance to win" if self.session.seat is not None else f"{self.session.player_name(0)} to win"
        return f"{whose}, it thinks: {thought.chance[viewer]:.0%}"

    def _thoughts(self, thought: Analysis) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("move", "visits", "", "win" if thought.chance is not None else "q", "policy"):
            table.add_column(name, justify="left" if name in ("move", "") else "right")
        most = max(1, max(move.visits for move in thought.moves))
        for move in thought.moves[:_SHOWN]:
            worth = f"{move.chance:.0%}" if move.chance is not None else "" if move.q is None else points(move.q)
            bar = Text("█" * round(16 * move.visits / most), style="cyan")
            style = "bold" if move.action == thought.action else ""
            table.add_row(Text(move.name, style=style), str(move.visits), bar, worth, f"{move.policy:.0%}")
        if len(thought.moves) > _SHOWN:
            table.add_row(Text(f"{len(thought.moves) - _SHOWN} more", style="dim"))
        return table

    def _show(self) -> None:
        board = self.session.board()
        if board is None:
            self._say(str(self.session.position.state).rstrip())
        else:
            self.console.print(self._drawn(board, self.session.last_touch()))

    def _drawn(self, board: Board, last: Touch | None) -> Text:
        """The board with its labels, the last move underlined."""
        reader = self.session.reader
        assert reader is not None
        rows, columns = board.shape
        wide = max([1, *(len(cell) for row in board.cells for cell in row), *map(len, board.column_labels)])
        margin = max(map(len, board.row_labels), default=0)
        text = Text("\n")
        for r in range(rows):
            label = board.row_labels[r] if board.row_labels else ""
            text.append(label.rjust(margin + 1) + " " * (r + 1 if reader.slanted else 1), "dim")
            for c in range(columns):
                cell = board.cells[r][c]
                style = self._style(cell)
                if last is not None and (r, c) in (last.source, last.target):
                    style = f"{style} reverse"
                text.append((cell or "·").rjust(wide), style)
                text.append(" ")
            text.append("\n")
        if board.column_labels:
            indent = " " * (margin + 2 + (rows if reader.slanted else 0))
            text.append(indent + " ".join(label.rjust(wide) for label in board.column_labels) + "\n", "dim")
        return text

    def _style(self, cell: str) -> str:
        reader = self.session.reader
        if not cell:
            return "dim"
        owner = None if reader is None else reader.owners.get(cell)
        if owner is None:
            return "bold"
        colours = reader.colours if reader is not None else ()
        return _COLOURS[colours[owner]] if owner < len(colours) else _PLAYERS[owner % len(_PLAYERS)]

    def _farewell(self) -> None:
        session = self.session
        if session.kept is not None and session.kept_moves == len(session.moves):
            self._say(f"The game is kept in {session.kept}. Goodbye.")
        elif session.ply and not session.over:
            self._say("Left in mid-game, and not kept (`save` does that). Goodbye.")
        else:
            self._say("Goodbye.")

    def _say(self, text: str, style: str = "") -> None:
        self.console.print(Text(text, style=style), soft_wrap=True)

    def _ask(self, prompt: str) -> str:
        line = input(prompt)
        if not sys.stdin.isatty():  # what comes through a pipe is not seen otherwise
            self.console.print(Text(line), soft_wrap=True)
        return line


def points(value: float) -> str:
    """A value as people write it: three digits of a small one, a whole number of a large one."""
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


def play_in_terminal(session: GameSession, **options: Any) -> int:
    """Play a session in the terminal until the person leaves; returns the exit code."""
    return Terminal(session, **options).run()
