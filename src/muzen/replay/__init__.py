"""Stored experience: rows in, training windows out, targets rewritten in place."""

from muzen.replay.buffer import Replay, Rows, Statistics
from muzen.replay.windows import Batch

__all__ = ["Batch", "Replay", "Rows", "Statistics"]
