"""What the machine gives this process, and how its shell is spoken to."""

from __future__ import annotations

import os
import shlex
import subprocess


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quoted(word: object) -> str:
    """One word of a command that a person is to type, quoted where this machine's shell wants it."""
    return subprocess.list2cmdline([str(word)]) if os.name == "nt" else shlex.quote(str(word))
