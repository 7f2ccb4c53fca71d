"""Stored experience: rows in, training windows out, targets rewritten in place."""

from muzen.replay.augment import augment
from muzen.replay.buffer import Replay, Statistics
from muzen.replay.columns import Rows
from muzen.replay.windows import Batch

__all__ = ["Batch", "Replay", "Rows", "Statistics", "augment"]
