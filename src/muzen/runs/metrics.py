"""Metrics: one table that anything can read (`metrics.jsonl`), and TensorBoard event files of the same rows.

A row is a line of JSON with the names of its numbers, so that a later row may have other columns; `null` stands
for what is not a finite number.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from muzen.errors import RunDamagedError
from muzen.files import storage_error, write_atomic

TABLE, EVENTS = "metrics.jsonl", "tensorboard"


class Metrics:
    """Appends rows to a run folder.

    Args:
      run: the run folder.
    """

    def __init__(self, run: Path | str):
        self.path = Path(run) / TABLE
        self._events_folder = Path(run) / EVENTS
        self._events: Path | None = None
        self._purge_step: int | None = None
        self.rows = _cut_torn_line(self.path)

    def write(self, row: Mapping[str, float]) -> None:
        """Add a row; it must have "env_steps".

        Raises:
          StorageError: it cannot be written; the rows before it are whole.
        """
        values = {name: _number(value) for name, value in row.items()}
        line = (json.dumps(values) + "\n").encode()
        try:
            _append(self.path, line)
            self._write_events(values)
        except OSError as error:
            raise storage_error(self.path, error) from error
        self.rows += 1

    def truncate(self, env_steps: int, rows: int | None = None) -> None:
        """Drop what a run resumed from there will write again: the rows after `env_steps`, and after the first `rows`.

        Raises:
          RunDamagedError: the table cannot be read.
          StorageError: it cannot be written.
        """
        before = [line for line, row in _lines(self.path) if row["env_steps"] <= env_steps]
        kept = before[:rows]
        if self.path.exists():
            write_atomic(self.path, b"".join(kept))
        self.rows = len(kept)
        self._purge_step = env_steps + (len(kept) == len(before))

    def _write_events(self, row: dict[str, float | None]) -> None:
        """The row for TensorBoard, in a file of this sitting's own.

        Not by its `SummaryWriter`: that writes from a thread, which a full disk kills, and the run then waits for it
        for ever.
        """
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

        now, step = time.time(), int(row["env_steps"] or 0)
        named = {name: value for name, value in row.items() if name != "env_steps" and value is not None}
        numbers = [Summary.Value(tag=name, simple_value=value) for name, value in named.items()]
        events = [Event(wall_time=now, step=step, summary=Summary(value=numbers))]
        path = self._events or self._events_folder / f"events.out.tfevents.{now:.6f}.{socket.gethostname()}"
        if self._events is None:
            self._events_folder.mkdir(exist_ok=True)
            if self._purge_step is not None:
                log = SessionLog(status=SessionLog.START)
                events.insert(0, Event(wall_time=now, step=self._purge_step, session_log=log))
            events.insert(0, Event(wall_time=now, file_version="brain.Event:2"))
        _append(path, b"".join(_record(event.SerializeToString()) for event in events))
        self._events = path


def _append(path: Path, data: bytes) -> None:
    """Add bytes to the end of a file, all of them or none."""
    with open(path, "ab", buffering=0) as file:
        before = file.tell()
        try:
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(before)
            raise


def _record(data: bytes) -> bytes:
    """A record of a TensorBoard file: length, data, and a checksum of each."""
    from tensorboardX.record_writer import masked_crc32c

    header = struct.pack("<Q", len(data))
    checksums = (struct.pack("<I", masked_crc32c(part)) for part in (header, data))
    return header + next(checksums) + data + next(checksums)


def read_metrics(run: Path | str) -> list[dict[str, float]]:
    """All rows of a run folder's table, NaN for what was not finite; a last line that a crash tore off is left out.

    Raises:
      RunDamagedError: a line is not a row.
    """
    return [row for _, row in _lines(Path(run) / TABLE)]


def _lines(path: Path) -> list[tuple[bytes, dict[str, float]]]:
    """Every whole line, as bytes and as a row."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunDamagedError(f"{path}: cannot be read ({error.strerror}); restore it from a copy") from error
    whole = data[: data.rfind(b"\n") + 1]
    return [(line, _row(line, path, i + 1)) for i, line in enumerate(whole.splitlines(keepends=True))]


def _row(line: bytes, path: Path, number: int) -> dict[str, float]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict) or not all(_is_number(x) for x in row.values()) or row.get("env_steps") is None:
        raise RunDamagedError(f"{path}: line {number} is not a row of numbers; delete the line or restore the file")
    return {name: math.nan if value is None else value for name, value in row.items()}


def _is_number(x: Any) -> bool:
    return x is None or (isinstance(x, int | float) and not isinstance(x, bool))


def _number(x: Any) -> float | None:
    """A Python number, or None where it is not finite."""
    value = x.item() if hasattr(x, "item") else x
    return value if math.isfinite(value) else None


def _cut_torn_line(path: Path) -> int:
    """Remove what follows the last line end, so that the next row begins a line of its own; returns whole lines."""
    with contextlib.suppress(FileNotFoundError):
        try:
            data = path.read_bytes()
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                os.truncate(path, whole)
            return data.count(b"\n")
        except FileNotFoundError:
            raise
        except OSError as error:
            raise storage_error(path, error) from error
    return 0
