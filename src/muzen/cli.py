"""The command line."""

from __future__ import annotations

import muzen


def main(argv: list[str]) -> int:
    """Run one command; return the process's exit code."""
    if argv == ["--version"]:
        print(f"muzen {muzen.__version__}")
        return 0
    print("usage: muzen --version")
    return 2
