"""Checkpoints: a run as it stood at one moment, or as it stood at the moment before; never half of each.

`checkpoint/` holds files that are written once under names of their own content, and `checkpoint.json`,
which lists them with sizes and checksums. Replacing that one file commits a checkpoint; files that it does
not list are removed after that. A save that is killed, or runs out of disk, leaves the last checkpoint whole.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from muzen.errors import MuzenError, RunDamagedError, RunNotFoundError
from muzen.files import digest, pack, read_checked, storage_error, unpack, write_atomic
from muzen.runs.folder import FORMAT, check_version, read_json

FOLDER, LIST, REPLAY = "checkpoint", "checkpoint.json", "replay"
WEIGHTS, ARRAYS = "weights", ".npz"
# A reader of a living run may see files vanish that a newer checkpoint replaced; it then looks again.
_ATTEMPTS = 5


class Saves(Protocol):
    """What a checkpoint asks of replay."""

    def save(self, folder: Path) -> dict[str, Any]:
        """Write new files only; the answer is JSON with an entry {"name": ...} in "files" for each that counts."""
        ...


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was read.

    Attributes:
      arrays: by name.
      state: the JSON that was saved.
      replay_folder, replay_manifest: what `Replay.load` needs; the manifest is None if no replay was saved.
    """

    arrays: dict[str, np.ndarray]
    state: dict[str, Any]
    replay_folder: Path
    replay_manifest: dict[str, Any] | None


class Checkpoint:
    """The last checkpoint of a run folder.

    Args:
      run: the run folder.
    """

    def __init__(self, run: Path | str):
        self.folder = Path(run) / FOLDER

    def exists(self) -> bool:
        """True once a checkpoint was committed."""
        return (self.folder / LIST).is_file()

    def save(self, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any], replay: Saves | None = None) -> None:
        """Write a new checkpoint and then drop the old one.

        Args:
          arrays: by name; numbers only.
          state: anything that JSON holds; infinities and numpy scalars too.
          replay: writes its own files below the checkpoint.

        Raises:
          StorageError: the disk is full or cannot be written; the old checkpoint is whole.
        """
        try:
            (self.folder / REPLAY).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(self.folder, error) from error
        self._remove_unlisted()
        try:
            manifest = None if replay is None else replay.save(self.folder / REPLAY)
            data = pack({name: np.asarray(x) for name, x in arrays.items()})
            checksum = digest(data)
            name = f"arrays-{checksum[:12]}.npz"
            if not (self.folder / name).is_file():
                write_atomic(self.folder / name, data)
            listing = {
                "arrays": {"name": name, "bytes": len(data), "digest": checksum},
                "state": dict(state),
                "replay": manifest,
            }
            write_atomic(self.folder / LIST, _sealed(listing))
        finally:
            self._remove_unlisted()

    def load(self) -> Saved:
        """Read the last checkpoint.

        Raises:
          RunNotFoundError: none was committed yet.
          RunVersionError: a newer Muzen wrote it.
          RunDamagedError: a file is missing, truncated or altered.
        """
        for attempt in range(_ATTEMPTS):
            listing = self._listing()
            try:
                return self._read(listing)
            except RunDamagedError:
                if attempt == _ATTEMPTS - 1 or self._listing() == listing:
                    raise
        raise AssertionError("unreachable")

    def _read(self, listing: dict[str, Any]) -> Saved:
        try:
            entry, state, replay = listing["arrays"], listing["state"], listing["replay"]
            name, size, checksum = entry["name"], entry["bytes"], entry["digest"]
            if Path(name).name != name or not isinstance(state, dict) or not isinstance(replay, dict | None):
                raise TypeError("a field has the wrong type")
        except (KeyError, TypeError) as error:
            raise RunDamagedError(f"{self.folder / LIST}: is not what Muzen writes ({error}); restore it") from error
        arrays = unpack(read_checked(self.folder / name, size, checksum), self.folder / name)
        return Saved(arrays, state, self.folder / REPLAY, replay)

    def _listing(self) -> dict[str, Any]:
        """The committed list of files, checked."""
        path = self.folder / LIST
        if not path.is_file():
            raise RunNotFoundError(
                f"{self.folder.parent}: has no checkpoint; if the run was stopped before its first one, "
                "delete the folder and train again"
            )
        sealed = read_json(path)
        version = sealed.get("format")
        if not isinstance(version, int) or isinstance(version, bool):
            raise RunDamagedError(f"{path}: names no format; restore the run folder from a copy")
        check_version(version, path)
        listing = sealed.get("checkpoint")
        if not isinstance(listing, dict) or sealed.get("digest") != digest(_canonical(listing)):
            raise RunDamagedError(f"{path}: was changed after it was written; restore the run folder from a copy")
        return listing

    def _remove_unlisted(self) -> None:
        """Remove what no committed checkpoint lists: older ones, and leftovers of killed saves."""
        keep: set[Path] = {self.folder / LIST}
        if self.exists():
            try:
                listing = self._listing()
                keep.add(self.folder / listing["arrays"]["name"])
                keep |= {self.folder / REPLAY / entry["name"] for entry in (listing["replay"] or {}).get("files", ())}
            except (MuzenError, KeyError, TypeError):
                return  # damaged: whatever could help to repair it stays
        for folder in (self.folder, self.folder / REPLAY):
            with contextlib.suppress(OSError):
                for path in folder.iterdir():
                    if path.is_file() and path not in keep:
                        with contextlib.suppress(OSError):  # on Windows a reader may hold it; next time, then
                            path.unlink()


class Weights:
    """The weights of a run as they were at several moments, `weights/STEP.npz`: for comparing, not for going on.

    Args:
      run: the run folder.
    """

    def __init__(self, run: Path | str):
        self.folder = Path(run) / WEIGHTS

    def save(self, env_steps: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep arrays by name.

        Raises:
          StorageError: they cannot be written.
        """
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise storage_error(self.folder, error) from error
        write_atomic(self.folder / f"{env_steps}{ARRAYS}", pack(arrays))

    def steps(self) -> list[int]:
        """Environment steps at which weights were kept."""
        return sorted(int(path.stem) for path in self.folder.glob(f"*{ARRAYS}") if path.stem.isdecimal())

    def truncate(self, env_steps: int) -> None:
        """Drop those after `env_steps`, which a run resumed from there will keep again, maybe at other steps."""
        for step in self.steps():
            if step > env_steps:
                (self.folder / f"{step}{ARRAYS}").unlink(missing_ok=True)

    def load(self, env_steps: int) -> dict[str, np.ndarray]:
        """The arrays that were saved then.

        Raises:
          RunNotFoundError: none were; the message says when some were.
          RunDamagedError: the file cannot be read.
        """
        path = self.folder / f"{env_steps}{ARRAYS}"
        if not path.is_file():
            kept = ", ".join(map(str, self.steps()))
            there = f"it kept those of {kept}" if kept else "it kept none, as only games do when they are measured"
            raise RunNotFoundError(f"{self.folder.parent}: has no weights of environment step {env_steps}; {there}")
        try:
            return unpack(path.read_bytes(), path)
        except OSError as error:
            raise RunDamagedError(f"{path}: cannot be read ({error.strerror}); restore it from a copy") from error


def _canonical(listing: dict[str, Any]) -> bytes:
    """One spelling for one content: equal after a round trip through JSON."""
    return json.dumps(listing, sort_keys=True, separators=(",", ":"), default=_plain).encode()


def _sealed(listing: dict[str, Any]) -> bytes:
    """The listing with its format and checksum, as the file holds it."""
    body = _canonical(json.loads(_canonical(listing)))  # keys that are numbers become text, and sort as text
    return b'{"format": %d, "digest": "%s", "checkpoint": %s}\n' % (FORMAT, digest(body).encode(), body)


def _plain(x: Any) -> Any:
    """Numpy's numbers and arrays as Python's."""
    if isinstance(x, np.generic | np.ndarray):
        return x.tolist()
    raise TypeError(f"state: {type(x).__name__} cannot be stored as JSON")
