"""Moves as people type them: by name, by number, or by the end of a name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from muzen.errors import IllegalMoveError

# Moves named in an error; of more, the first ones and how many there are.
_NAMED = 40
# Characters of what was typed that an error repeats.
_SHOWN = 40


def find_move(text: str, legal: Mapping[int, str], num_actions: int) -> int:
    """The action that a person means: its name, its number, or an end of the name that only it has.

    Case, spaces and punctuation don't count where they make no difference: "1,1" is "x(1,1)".

    Args:
      text: as typed.
      legal: names by action.
      num_actions: of the game; a number below it is an action's and nothing else.

    Raises:
      IllegalMoveError: no legal move is called so, or several are; the message says what is legal.
    """
    text = text.strip()
    bare = _bare(text)
    names = {action: _bare(name) for action, name in legal.items() if bare}
    number = int(text) if text.isdecimal() and len(text) < 10 else -1
    found = [action for action, name in legal.items() if name == text]
    found = found or [action for action, name in names.items() if name == bare]
    if not found and 0 <= number < num_actions:
        found = [action for action in legal if action == number]
    elif not found and not text.startswith("-"):
        found = [action for action, name in names.items() if name.endswith(bare)]
    if len(found) == 1:
        return found[0]
    if found:
        raise IllegalMoveError(f"{text}: stands for several moves: {_listed(legal[action] for action in found)}")
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    raise IllegalMoveError(f"{shown or 'nothing'}: is not a legal move; {legal_text(legal)}")


def legal_text(legal: Mapping[int, str]) -> str:
    """The legal moves, for an error."""
    return f"legal: {_listed(legal.values())}" if legal else "the game is over"


def _bare(text: str) -> str:
    """A move without what people leave out."""
    return "".join(c for c in text.casefold() if c.isalnum())


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
