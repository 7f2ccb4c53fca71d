"""What a plant is: one known bug as a small change of one source file, and the claims that must fail with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Plant:
    """One face of one trap.

    Attributes:
      trap: its number in `plants.TRAPS`.
      face: the bug in words.
      file: below `src/muzen`.
      old: source text that stands in the file exactly once.
      new: what the bug makes of it.
      claims: node ids of the tests that must fail.
      path: where claims of search run their trees. The kernels are the same on both paths, and those of "host" compile
        in half the time; "xla" where a claim needs it.
    """

    trap: int
    face: str
    file: str
    old: str
    new: str
    claims: tuple[str, ...]
    path: Literal["host", "xla"] = "host"

    def __str__(self) -> str:
        return f"{self.trap} {self.face}"


def claim(file: str, *names: str) -> tuple[str, ...]:
    """Node ids of tests in one file below `tests`."""
    return tuple(f"tests/{file}::{name}" for name in names)
