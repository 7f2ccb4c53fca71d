"""Replay on disk: chunks of rows, of which a save writes only those that changed.

Chunk c holds the rows with sequence numbers c·length .. (c+1)·length - 1 of every lane. What a row
never changes (observation, action, reward, ...) lies in one file that is final once the chunk is full;
search policies, values and weights lie in another, written again when one of them changed. A file's
name carries a checksum of its content, so no file that an earlier manifest lists is ever overwritten.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from muzen.config import ReplayConfig
from muzen.errors import RunDamagedError
from muzen.files import digest, pack, read_checked, storage_error, unpack, write_atomic
from muzen.replay import kernels
from muzen.replay.sum_tree import tree_rebuild
from muzen.replay.windows import FINAL, Columns
from muzen.types import EnvSpec

if TYPE_CHECKING:
    from muzen.replay.buffer import Replay

CHUNK_BYTES = 8 * 2**20
# Bounds the number of files, and of dirty marks, of a replay of any size.
MOST_CHUNKS = 1024
FIXED = ("observation", "action", "reward", "flags", "to_play", "legal", "episode", "step")
TARGETS = ("policy", "value")


class ChunkStore:
    """Which chunk files there are, and which chunks changed since.

    Attributes:
      length: rows of each lane in a chunk.
      dirty: [chunks] bool by chunk modulo its size, true where a target or weight changed; kernels set it.
      files: entries of the last save or load: chunk, kind ("rows" or "targets"), name, bytes, digest, and
        `stop`, one past the last sequence number of each lane.
    """

    def __init__(self, bytes_per_row: int, lanes: int, capacity: int):
        self.length = max(1, CHUNK_BYTES // (bytes_per_row * lanes), -(-capacity // MOST_CHUNKS))
        self.dirty = np.zeros(capacity // self.length + 2, bool)
        self.files: list[dict[str, Any]] = []
        self.folder: Path | None = None

    def write(
        self, folder: Path, rows: Columns, weights: np.ndarray, head: np.ndarray, capacity: int
    ) -> list[dict[str, Any]]:
        """Write new files for what changed.

        Returns:
          Entries of all files that make up the replay now.

        Raises:
          StorageError: a file could not be written; those written by this call are gone again.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(folder, error) from error
        folder = folder.resolve()
        known = {(e["chunk"], e["kind"]): e for e in self.files} if folder == self.folder else {}
        oldest = np.maximum(head - capacity, 0)
        entries, written = [], []
        try:
            for chunk in range(oldest.min() // self.length, -(-int(head.max()) // self.length)):
                first, stop = self._span(chunk, head, oldest)
                if not (stop > first).any():
                    continue
                for kind in ("rows", "targets"):
                    old = known.get((chunk, kind))
                    changed = kind == "targets" and self.dirty[chunk % len(self.dirty)]
                    if old is not None and not changed and old["stop"] == stop.tolist() and _is_there(folder, old):
                        entries.append(old)
                        continue
                    data = pack(self._arrays(kind, rows, weights, first, stop, capacity))
                    entry = {"chunk": chunk, "kind": kind, "name": f"{kind}-{chunk:06d}-{digest(data)[:12]}.npz"}
                    entry |= {"bytes": len(data), "digest": digest(data), "stop": stop.tolist()}
                    path = folder / entry["name"]
                    if not path.exists():
                        written.append(path)
                    write_atomic(path, data)
                    entries.append(entry)
        except BaseException:
            for path in written:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            raise
        self.files, self.folder = entries, folder
        self.dirty[:] = False
        return entries

    def _span(self, chunk: int, head: np.ndarray, oldest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[lanes] first sequence number of each lane in the chunk, and one past the last."""
        stop = np.minimum(head, (chunk + 1) * self.length)
        return np.minimum(np.maximum(oldest, chunk * self.length), stop), stop

    def _arrays(
        self, kind: str, rows: Columns, weights: np.ndarray, first: np.ndarray, stop: np.ndarray, capacity: int
    ) -> dict[str, np.ndarray]:
        places = flat_places(first, stop, capacity)
        names = FIXED if kind == "rows" else TARGETS
        arrays = {"first": first, "stop": stop} | {name: getattr(rows, name)[places] for name in names}
        if kind == "targets" and weights.size:
            arrays["weight"] = weights[places]
        return arrays


def flat_places(first: np.ndarray, stop: np.ndarray, capacity: int) -> np.ndarray:
    """Places of the rows first[i] .. stop[i] - 1 of every lane i, lane after lane."""
    spans = [i * capacity + np.arange(a, b) % capacity for i, (a, b) in enumerate(zip(first, stop, strict=True))]
    return np.concatenate(spans).astype(np.int64)


def load_rows(cls: type[Replay], folder: Path, manifest: dict[str, Any], spec: EnvSpec, config: ReplayConfig) -> Replay:
    """Rebuild a replay from its manifest and files; see `Replay.load`."""
    try:
        replay = cls(spec, config, manifest["lanes"], 0)
        _restore_state(replay, manifest)
        store = replay._chunks
        store.length = manifest["chunk_rows"]
        store.dirty = np.zeros(replay.capacity // store.length + 2, bool)
        placed = {"rows": 0, "targets": 0}
        for entry in manifest["files"]:
            name = entry["name"]
            if Path(name).name != name:
                raise ValueError(f"{name!r} is not a plain file name")
            arrays = unpack(read_checked(folder / name, entry["bytes"], entry["digest"]), folder / name)
            placed[entry["kind"]] += _place(replay, entry["kind"], arrays)
        _finish(replay, placed)
        if replay.capacity == manifest["capacity"]:
            store.files, store.folder = list(manifest["files"]), folder.resolve()
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, ZeroDivisionError) as error:
        if type(error).__module__.startswith("muzen"):
            raise
        raise RunDamagedError(
            f"{folder}: the stored replay does not fit together ({type(error).__name__}: {error}); "
            "restore the run folder from a copy"
        ) from error
    return replay


def _restore_state(replay: Replay, manifest: dict[str, Any]) -> None:
    """Heads, counters, ranges and the random generator."""
    state = replay._lanes
    for array, name in ((state.head, "head"), (state.episode_return, "episode_return"), (state.counts, "counts")):
        array[...] = np.array(manifest[name], array.dtype).reshape(array.shape)
    state.range[...] = np.array([float(x) for x in manifest["range"]]).reshape(state.range.shape)
    if (state.head < 0).any() or (state.counts < 0).any():
        raise ValueError("negative counts")
    replay._rng.bit_generator.state = manifest["rng"]


def _place(replay: Replay, kind: str, arrays: dict[str, np.ndarray]) -> int:
    """Put the rows of one file where they belong; rows that the ring no longer holds are dropped.

    Returns:
      Rows placed.
    """
    first, stop = arrays["first"].astype(np.int64), arrays["stop"].astype(np.int64)
    head = replay._lanes.head
    if first.shape != head.shape or stop.shape != head.shape or (stop > head).any() or (stop < first).any():
        raise ValueError("lanes of a chunk do not match")
    sequence = np.concatenate([np.arange(a, b) for a, b in zip(first, stop, strict=True)])
    lane = np.repeat(np.arange(replay.lanes), stop - first)
    keep = sequence >= head[lane] - replay.capacity
    places = (lane * replay.capacity + sequence % replay.capacity)[keep]
    for name in FIXED if kind == "rows" else TARGETS:
        column, new = getattr(replay._rows, name), arrays[name]
        if new.dtype != column.dtype or new.shape != (len(sequence), *column.shape[1:]):
            raise ValueError(f"{name} has shape {new.shape} and type {new.dtype}; this environment has other shapes")
        column[places] = new[keep]
    if kind == "targets" and replay._prioritised:
        # A run that was uniform so far starts with equal weights; final and newest rows are cleared later.
        weight = arrays.get("weight", np.ones(len(sequence)))
        if weight.shape != sequence.shape or not (np.isfinite(weight) & (weight >= 0)).all():
            raise ValueError("weight must be finite and not negative")
        replay._leaves()[places] = weight[keep]
    return int(keep.sum())


def _finish(replay: Replay, placed: dict[str, int]) -> None:
    """Check that every row is there, and derive what is not stored."""
    head, capacity = replay._lanes.head, replay.capacity
    held = np.minimum(head, capacity)
    if placed != {"rows": held.sum(), "targets": held.sum()}:
        raise ValueError(f"{held.sum()} rows expected, {placed} found")
    places = flat_places(head - held, head, capacity)
    final = replay._rows.flags[places] & FINAL != 0
    lane = np.repeat(np.arange(replay.lanes), held)
    replay._lanes.finals[:] = np.bincount(lane[final], minlength=replay.lanes)
    if replay._prioritised:
        leaves = replay._leaves()
        leaves[places[final]] = 0.0
        leaves[(np.arange(replay.lanes) * capacity + (head - 1) % capacity)[head > 0]] = 0.0
        tree_rebuild(replay._tree, replay._inner)
        replay._lanes.range[kernels.MAX_WEIGHT] = max(replay._lanes.range[kernels.MAX_WEIGHT], leaves.max(initial=0.0))
