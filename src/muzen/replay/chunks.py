"""Replay on disk: chunks of rows, of which a save writes only those that changed.

Chunk c holds the rows with sequence numbers c·length .. (c+1)·length - 1 of every lane. What a row
never changes (observation, action, reward, ...) lies in one file that is final once the chunk is full;
search policies, values and weights lie in another, written again when one of them changed. A file's
name carries a checksum of its content, so no file that an earlier manifest lists is ever overwritten.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from muzen.config import ReplayConfig
from muzen.errors import RunDamagedError
from muzen.files import digest, pack, read_checked, storage_error, unpack, write_atomic
from muzen.replay.columns import FINAL, MAX_WEIGHT, Store, empty_dirty
from muzen.replay.sum_tree import tree_rebuild
from muzen.types import EnvSpec

if TYPE_CHECKING:
    from muzen.replay.buffer import Replay

FIXED = ("observation", "action", "reward", "flags", "to_play", "legal", "episode", "step")
TARGETS = ("policy", "value")
LARGEST_COUNT = 2**48


class ChunkFiles:
    """The chunk files of the last save or load.

    Attributes:
      files: one entry each: chunk, kind ("rows" or "targets"), name, bytes, digest, and `stop`, one past the last
        sequence number of each lane.
      folder: where they lie; None before the first save or load.
    """

    def __init__(self) -> None:
        self.files: list[dict[str, Any]] = []
        self.folder: Path | None = None

    def write(self, folder: Path, store: Store, weights: np.ndarray) -> list[dict[str, Any]]:
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
        entries, written = [], []
        try:
            for chunk, first, stop in _spans(store):
                for kind in ("rows", "targets"):
                    old = known.get((chunk, kind))
                    dirty = kind == "targets" and store.dirty[chunk % len(store.dirty)]
                    if old is not None and not dirty and old["stop"] == stop.tolist() and _is_there(folder, old):
                        entries.append(old)
                        continue
                    data = pack(_arrays(kind, store, weights, first, stop))
                    checksum = digest(data)
                    path = folder / f"{kind}-{chunk:06d}-{checksum[:12]}.npz"
                    if not path.exists():
                        written.append(path)
                    write_atomic(path, data)
                    entry = {"chunk": chunk, "kind": kind, "name": path.name, "bytes": len(data), "digest": checksum}
                    entries.append(entry | {"stop": stop.tolist()})
        except BaseException:
            for path in written:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            raise
        self.files, self.folder = entries, folder
        store.dirty[:] = False
        return entries


def _spans(store: Store) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Every chunk with rows in it: its number, and per lane its first row and one past its last."""
    head, length = store.lanes.head, store.chunk
    oldest = np.maximum(head - store.capacity, 0)
    for chunk in range(int(oldest.min()) // length, -(-int(head.max()) // length)):
        stop = np.minimum(head, (chunk + 1) * length)
        first = np.minimum(np.maximum(oldest, chunk * length), stop)
        if (stop > first).any():
            yield chunk, first, stop


def _arrays(kind: str, store: Store, weights: np.ndarray, first: np.ndarray, stop: np.ndarray) -> dict[str, np.ndarray]:
    """What a file of this kind holds of the rows first .. stop - 1 of each lane, lane after lane."""
    places = flat_places(first, stop, store.capacity)
    names = FIXED if kind == "rows" else TARGETS
    arrays = {"first": first, "stop": stop} | {name: getattr(store.rows, name)[places] for name in names}
    if kind == "targets" and weights.size:
        arrays["weight"] = weights[places]
    return arrays


def flat_places(first: np.ndarray, stop: np.ndarray, capacity: int) -> np.ndarray:
    """Places of the rows first[i] .. stop[i] - 1 of every lane i, lane after lane."""
    spans = [i * capacity + np.arange(a, b) % capacity for i, (a, b) in enumerate(zip(first, stop, strict=True))]
    return np.concatenate(spans).astype(np.int64)


def _is_there(folder: Path, entry: dict[str, Any]) -> bool:
    """Whether the entry's file is still in the folder, whole by its size."""
    try:
        return (folder / entry["name"]).stat().st_size == entry["bytes"]
    except OSError:
        return False


def load_rows(cls: type[Replay], folder: Path, manifest: dict[str, Any], spec: EnvSpec, config: ReplayConfig) -> Replay:
    """Rebuild a replay from its manifest and files; see `Replay.load`."""
    try:
        lanes, capacity, chunk = (_count(manifest, name) for name in ("lanes", "capacity", "chunk_rows"))
        evicted = max(manifest["head"]) > capacity
        replay = cls(spec, config, lanes, 0, capacity if evicted else None)
        _restore_state(replay, manifest)
        replay._store = replay._store._replace(chunk=chunk, dirty=empty_dirty(replay.capacity, chunk))
        placed = {"rows": 0, "targets": 0}
        for entry in manifest["files"]:
            name = entry["name"]
            if Path(name).name != name:
                raise ValueError(f"{name!r} is not a plain file name")
            arrays = unpack(read_checked(folder / name, entry["bytes"], entry["digest"]), folder / name)
            placed[entry["kind"]] += _place(replay, entry["kind"], arrays)
        _finish(replay, placed)
        if replay.capacity == capacity:
            replay._files.files, replay._files.folder = list(manifest["files"]), folder.resolve()
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, ZeroDivisionError) as error:
        if type(error).__module__.startswith("muzen"):
            raise
        raise RunDamagedError(
            f"{folder}: the stored replay does not fit together ({type(error).__name__}: {error}); "
            "restore the run folder from a copy"
        ) from error
    return replay


def _count(manifest: dict[str, Any], name: str) -> int:
    """A whole number from 1 up, of a size that arithmetic can bear."""
    value = manifest[name]
    if type(value) is not int or not 1 <= value < LARGEST_COUNT:
        raise ValueError(f"{name} is {value!r}")
    return value


def _restore_state(replay: Replay, manifest: dict[str, Any]) -> None:
    """Heads, counters, ranges and the random generator."""
    state = replay._store.lanes
    for array, name in ((state.head, "head"), (state.episode_return, "episode_return"), (state.counts, "counts")):
        array[...] = np.array(manifest[name], array.dtype).reshape(array.shape)
    state.range[...] = np.array([float(x) for x in manifest["range"]]).reshape(state.range.shape)
    if not (state.head.min() >= 0 and state.head.max() * replay.lanes < LARGEST_COUNT and state.counts.min() >= 0):
        raise ValueError("counts out of range")
    replay._rng.bit_generator.state = manifest["rng"]


def _place(replay: Replay, kind: str, arrays: dict[str, np.ndarray]) -> int:
    """Put the rows of one file where they belong; rows that the ring no longer holds are dropped.

    Returns:
      Rows placed.
    """
    first, stop = arrays["first"].astype(np.int64), arrays["stop"].astype(np.int64)
    head = replay._store.lanes.head
    if first.shape != head.shape or stop.shape != head.shape or (stop > head).any() or (stop < first).any():
        raise ValueError("lanes of a chunk do not match")
    sequence = np.concatenate([np.arange(a, b) for a, b in zip(first, stop, strict=True)])
    lane = np.repeat(np.arange(replay.lanes), stop - first)
    keep = sequence >= head[lane] - replay.capacity
    places = (lane * replay.capacity + sequence % replay.capacity)[keep]
    for name in FIXED if kind == "rows" else TARGETS:
        column, new = getattr(replay._store.rows, name), arrays[name]
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
    head, capacity = replay._store.lanes.head, replay.capacity
    held = np.minimum(head, capacity)
    if placed != {"rows": held.sum(), "targets": held.sum()}:
        raise ValueError(f"{held.sum()} rows expected, {placed} found")
    places = flat_places(head - held, head, capacity)
    final = replay._store.rows.flags[places] & FINAL != 0
    lane = np.repeat(np.arange(replay.lanes), held)
    replay._store.lanes.finals[:] = np.bincount(lane[final], minlength=replay.lanes)
    if replay._prioritised:
        leaves = replay._leaves()
        leaves[places[final]] = 0.0
        leaves[(np.arange(replay.lanes) * capacity + (head - 1) % capacity)[head > 0]] = 0.0
        tree_rebuild(replay._store.tree, replay._store.inner)
        replay._store.lanes.range[MAX_WEIGHT] = max(replay._store.lanes.range[MAX_WEIGHT], leaves.max(initial=0.0))
