"""Boards, read from what OpenSpiel writes: which cell holds what, and which cells a move touches.

OpenSpiel has no boards, only text. Where the text of a state is a grid of single characters, it is read as one; what a
move touches is seen by playing it on a copy and comparing the two grids. Neither needs to know a game's rules. A game
whose text is no grid has no board, and people play it from its text and a list of moves.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from muzen.envs.openspiel import PREFIX, load_game, play_chance

Cell = tuple[int, int]
Style = Literal["discs", "marks", "points", "chess", "numbers"]

# What an empty cell may look like, the likeliest first: checkers has "." for those and "+" for a piece.
_EMPTY = (".", "-", "+", "_")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_FEN = re.compile(r"^((?:[pnbrqkPNBRQK1-8]+/)+[pnbrqkPNBRQK1-8]+) [wb] ")
# Games whose pieces people know to look otherwise than discs in cells.
_STYLES: dict[str, Style] = {"tic_tac_toe": "marks", "mnk": "marks", "go": "points", "gomoku": "points"}
_COLOURS = {"connect_four": ("red", "yellow")}
# Random play that shows whose pieces are whose.
_PROBE_GAMES, _PROBE_PLIES = 6, 40


@dataclass(frozen=True)
class Board:
    """One position.

    Attributes:
      cells: [rows][columns] what stands there, as OpenSpiel writes it; "" where nothing does.
      row_labels, column_labels: what the game's own names call them; empty where they have no names.
    """

    cells: tuple[tuple[str, ...], ...]
    row_labels: tuple[str, ...] = ()
    column_labels: tuple[str, ...] = ()

    @property
    def shape(self) -> Cell:
        """(rows, columns)."""
        return len(self.cells), len(self.cells[0])


class Touch(NamedTuple):
    """The cells of one move: where a piece comes from, None where it is placed, and where it goes."""

    source: Cell | None
    target: Cell


class BoardReader:
    """Reads the states of one game.

    Attributes:
      style: how its pieces look.
      colours: of the players' pieces, in their order.
      owners: whose piece a symbol is, as far as random play shows it.
      drops: a move names a column, and the piece falls in it.
      moves_pieces: a move takes a piece from one cell to another.
      slanted: every row begins half a cell further to the right, as a board of hexagons is written.
    """

    def __init__(self, name: str, shape: Cell, empty: str, style: Style, slanted: bool):
        short = name.removeprefix(PREFIX).partition("(")[0].strip()
        self.shape, self.empty, self.slanted = shape, empty, slanted
        self.style: Style = style
        self.colours = _COLOURS.get(short, ("dark", "light"))
        self.owners: dict[str, int] = {}
        self.drops = self.moves_pieces = False
        self._labels: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def read(self, state: Any) -> Board:
        """The position of a `pyspiel.State`."""
        lines = _grid(str(state), self.shape)
        if lines is None:
            raise ValueError(f"the text of this state is no grid of {self.shape}:\n{state}")
        cells, rows, columns = lines
        named = self._labels if not rows or not columns else (rows, columns)
        emptied = tuple(tuple("" if cell == self.empty else cell for cell in row) for row in cells)
        return Board(emptied, rows or named[0], columns or named[1])

    def touched(self, state: Any) -> dict[int, Touch]:
        """The cells of every legal action that touches some; a pass, or a choice of direction, is not among them."""
        before = self.read(state)
        found = {}
        for action in state.legal_actions():
            touch = self.touch(before, state, action)
            if touch is not None:
                found[action] = touch
        return found

    def touch(self, before: Board, state: Any, action: int) -> Touch | None:
        """The cells of one legal action of a state, whose board is `before`."""
        if state.num_players() == 1:  # alone, people steer: up, left, stay
            return None
        effect = _effect(before, self.read(state.child(action)), self.style)
        if effect is not None and effect.source is not None:
            return effect
        # A game may change more than it is asked to, and then its name says better what was touched.
        return _named(before, state.action_to_string(state.current_player(), action)) or effect

    def symbol(self, player: int) -> str:
        """The commonest piece of a player, or nothing."""
        return next((symbol for symbol, owner in self.owners.items() if owner == player), "")

    def probe(self, game: Any) -> None:
        """Learns from random play whose pieces are whose, and what cells are called."""
        random = np.random.default_rng(0)
        owned: Counter[tuple[str, int]] = Counter()
        names: list[tuple[str, int, Touch]] = []
        for _ in range(_PROBE_GAMES):
            state = game.new_initial_state()
            for _ in range(_PROBE_PLIES):
                if state.is_terminal():
                    break
                if state.is_chance_node():
                    play_chance(state, random)
                    continue
                mover, action = state.current_player(), int(random.choice(state.legal_actions()))
                before, name = self.read(state), state.action_to_string(mover, action)
                touch = self.touch(before, state, action)
                state.apply_action(action)
                if touch is not None:
                    names.append((name, action, touch))
                    owned[self.read(state).cells[touch.target[0]][touch.target[1]], mover] += 1
        for (symbol, mover), times in owned.most_common():
            everyones = sum(owned[symbol, player] for player in range(game.num_players()))
            if symbol and times > 0.6 * everyones:  # what all put down is nobody's
                self.owners[symbol] = mover
        if self.style == "chess":
            white = self.owners.get("P", 1)
            self.owners |= {piece: white for piece in "PNBRQK"} | {piece: 1 - white for piece in "pnbrqk"}
        falls = bool(names) and all(action == touch.target[1] for _, action, touch in names)
        self.moves_pieces = any(touch.source is not None for _, _, touch in names)
        self.drops = falls and game.num_distinct_actions() == self.shape[1]
        self._labels = _labels(self.shape, [(name, touch.target) for name, _, touch in names], self.drops)


@functools.lru_cache(maxsize=64)
def board_reader(name: str) -> BoardReader | None:
    """The reader of `openspiel:GAME(parameters)`, or None where its text is no grid."""
    game = load_game(name)
    state, random = game.new_initial_state(), np.random.default_rng(0)
    while state.is_chance_node():
        play_chance(state, random)
    short = name.removeprefix(PREFIX).partition("(")[0].strip()
    text = str(state)
    for shape in _shapes(game):
        found = _grid(text, shape)
        if found is None:
            continue
        symbols = {cell for row in found[0] for cell in row}
        style: Style = _STYLES.get(short, "discs")
        if _FEN.match(text):
            style, empty = "chess", "."
        elif max(map(len, symbols)) > 1 or all(symbol.isdecimal() for symbol in symbols):
            style, empty = "numbers", "0"
        else:
            empty = next((symbol for symbol in _EMPTY if symbol in symbols), ".")
        reader = BoardReader(name, shape, empty, style, _is_slanted(text, shape))
        try:
            reader.probe(game)
        except ValueError:  # the text of a later state is no grid any more
            return None
        return reader
    return None


def _shapes(game: Any) -> list[Cell]:
    """(rows, columns) that the board may have."""
    shape = tuple(game.observation_tensor_shape())[-2:]
    sizes = [shape, shape[::-1]] if len(shape) == 2 else []
    side = round(game.num_distinct_actions() ** 0.5)
    sizes.append((side, side))
    return [(rows, columns) for rows, columns in sizes if 2 <= rows <= 40 and 2 <= columns <= 40]


def _grid(text: str, shape: Cell) -> tuple[list[list[str]], tuple[str, ...], tuple[str, ...]] | None:
    """(cells, row labels, column labels) of the first lines of text that have this shape."""
    fen = _FEN.match(text)
    if fen:
        ranks = [re.sub(r"\d", lambda digit: "." * int(digit.group()), rank) for rank in fen.group(1).split("/")]
        rows = tuple(str(len(ranks) - i) for i in range(len(ranks)))
        grid = [list(rank) for rank in ranks]
        return (grid, rows, tuple("abcdefgh")) if shape == (len(grid), len(grid[0])) else None
    run: list[tuple[str, list[str]]] = []
    columns: tuple[str, ...] = ()
    for line in _ANSI.sub("", text).splitlines():
        letters = line.split() if " " in line.strip() else list(line.strip())
        if _is_alphabet(letters, shape[1]):
            columns = columns or tuple(letter.lower() for letter in letters)
            continue
        row = _row(line, shape[1])
        if row is not None and len(run) < shape[0]:
            run.append(row)
        elif len(run) < shape[0]:
            run = []
    if len(run) < shape[0]:
        return None
    rows = tuple(label for label, _ in run)
    return [cells for _, cells in run], rows if all(rows) else (), columns


def _is_alphabet(letters: list[str], columns: int) -> bool:
    """Whether a line names the columns: letters in order, one for each."""
    return (
        len(letters) == columns
        and all(letter.isalpha() and len(letter) == 1 for letter in letters)
        and (letters == sorted(set(letters)))
    )


def _row(line: str, columns: int) -> tuple[str, list[str]] | None:
    """(label, cells) of a line, or None if it is no row of the board."""
    tokens = line.split()
    numbers = [i for i, token in enumerate(tokens) if token.isdecimal()]
    if len(tokens) == columns and len(numbers) in (0, columns):
        return ("", tokens) if numbers or all(len(token) == 1 for token in tokens) else None
    if numbers and numbers[0] <= 1 and len(tokens) > columns:
        cells = tokens[numbers[0] + 1 :][:columns]
        return (tokens[numbers[0]], cells) if len(cells) == columns and all(len(c) == 1 for c in cells) else None
    if len(tokens) == 2 and numbers == [0] and len(tokens[1]) == columns:
        return tokens[0], list(tokens[1])
    text = line.strip()
    if len(tokens) != 1:
        return None
    if len(text) == columns:
        return "", list(text)
    label, cells = text[:-columns], list(text[-columns:])
    return (label, cells) if label and not label.isalpha() and len(label) <= 2 else None


def _is_slanted(text: str, shape: Cell) -> bool:
    """Whether each row of the board is written a little further to the right."""
    starts = [len(line) - len(line.lstrip()) for line in text.splitlines() if _row(line, shape[1]) is not None]
    return len(starts) > 1 and starts == list(range(starts[0], starts[0] + len(starts)))


def _effect(before: Board, after: Board, style: Style) -> Touch | None:
    """What a move did, where that is one piece placed or one piece moved."""
    rows, columns = before.shape
    pairs = {
        (r, c): (before.cells[r][c], after.cells[r][c])
        for r in range(rows)
        for c in range(columns)
        if before.cells[r][c] != after.cells[r][c]
    }
    filled = [cell for cell, (was, now) in pairs.items() if not was and now]
    emptied = [cell for cell, (was, now) in pairs.items() if was and not now]
    changed = [cell for cell, (was, now) in pairs.items() if was and now]
    if style == "chess" and len(filled) == 2:  # castling is the king's move
        filled = [cell for cell in filled if pairs[cell][1] in "kK"]
        emptied = [cell for cell in emptied if pairs[cell][0] in "kK"]
    if len(filled) == 1 and not emptied:
        return Touch(None, filled[0])
    targets = filled or changed
    if len(targets) != 1 or not emptied:
        return None
    piece = pairs[targets[0]][1]
    own = [cell for cell in emptied if pairs[cell][0] == piece]
    if style == "chess" and not own:  # a promotion
        own = [cell for cell in emptied if pairs[cell][0].isupper() == piece.isupper()]
    if len(own) == 1:
        return Touch(own[0], targets[0])
    # Not one of those that went was like the one that came: it was placed, and captured them.
    return Touch(None, targets[0]) if filled and not own and len({pairs[cell][0] for cell in emptied}) == 1 else None


def _named(before: Board, name: str) -> Touch | None:
    """The cells that a move's name mentions: one is placed on, two are moved between."""
    cells = []
    for letter, number in re.findall(r"(?<![A-Za-z])([a-z])(\d+)", name):
        if letter in before.column_labels and number in before.row_labels:
            cells.append((before.row_labels.index(number), before.column_labels.index(letter)))
    if not cells:  # amazons: "X From (7, 10)", counted from 1
        rows, columns = before.shape
        found = [(int(r) - 1, int(c) - 1) for r, c in re.findall(r"\((\d+), (\d+)\)", name)]
        cells = [(r, c) for r, c in found if 0 <= r < rows and 0 <= c < columns]
    return Touch(cells[0] if len(cells) == 2 else None, cells[-1]) if len(cells) in (1, 2) else None


def _labels(shape: Cell, named: list[tuple[str, Cell]], drops: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(rows, columns) as moves call them, where the text itself names none."""
    rows, columns = shape
    if drops:
        return (), tuple(map(str, range(columns)))
    letters, numbers = tuple("abcdefghijklmnopqrstuvwxyz"[:columns]), tuple(map(str, range(1, rows + 1)))
    if named and all(name.endswith(f"{letters[c]}{numbers[r]}") for name, (r, c) in named if c < len(letters)):
        return numbers, letters
    for first in (0, 1):
        pattern = re.compile(r"(\d+)\D+(\d+)\D*$")
        found = [(pattern.search(name), cell) for name, cell in named]
        if found and all(m and (int(m[1]) - first, int(m[2]) - first) == cell for m, cell in found):
            return tuple(str(r + first) for r in range(rows)), tuple(str(c + first) for c in range(columns))
    return (), ()
