"""The run folder's layout: create it, open it, and keep two processes from training in it at once.

config.json       every setting; `--config` reads it too
run.json          format version, and the facts that bits depend on: versions, machine, threads
lock              held by the process that trains
metrics.jsonl     one row of numbers a line
tensorboard/      the same rows as event files
checkpoint/       weights, counters and replay; see `checkpoint.py`
evaluation.json   the evaluation at the end of training
weights/          of a game, the weights at each point of its learning curve
games/            records of games: of that evaluation, of arenas and of play; see `games.py`
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import socket
import sys
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from muzen.config import Config, config_from_dict, to_dict
from muzen.errors import (
    ConfigError,
    RunBusyError,
    RunDamagedError,
    RunExistsError,
    RunNotFoundError,
    RunVersionError,
)
from muzen.files import TEMPORARY, storage_error, write_atomic
from muzen.machine import usable_cores

FORMAT = 1
CONFIG, RUN, LOCK = "config.json", "run.json", "lock"
# What a creation that was killed may leave behind: no reason to refuse the folder.
_LEFTOVERS = {RUN, LOCK, CONFIG + TEMPORARY, RUN + TEMPORARY}
_PACKAGES = ("muzen", "jax", "jaxlib", "equinox", "optax", "numpy", "numba", "gymnasium", "open_spiel", "ale-py")
# Facts that the run's numbers follow from; the others are for people.
_BITS = (*_PACKAGES, "machine", "processor", "instructions", "device", "threads", "xla_flags")
# Vector instructions among a processor's flags, x86 and ARM: a name such as "AMD EPYC" does not say which it has.
_VECTOR_FLAGS = ("sse", "ssse", "avx", "fma", "f16c", "amx", "asimd", "sve", "bf16")
# Windows locks a range of bytes against reading too, so it must lie past the text.
_LOCK_OFFSET = 2**30
# Errors of a lock that another process holds; with any other the file system knows no locks.
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)


class RunFolder:
    """A run's folder on disk.

    Attributes:
      path: where it lies.
      config: its settings.
      facts: versions, machine and threads when it was created.
      began: what it began with that no setting tells: a warm start, parts of the user's own; None in older runs.
    """

    def __init__(self, path: Path, config: Config, facts: dict[str, Any], began: dict[str, str] | None = None):
        self.path, self.config, self.facts, self.began = path, config, facts, began

    @classmethod
    def planned(cls, path: Path | str, config: Config, began: dict[str, str] | None = None) -> RunFolder:
        """The folder of a new run, before anything is written: `made` does that, once nothing is refused any more.

        Raises:
          RunExistsError: something is there already.
          StorageError: the place cannot be read.
        """
        folder = cls(Path(path), config, environment_facts(), began or {})
        folder._require_vacant()
        return folder

    @contextlib.contextmanager
    def made(self) -> Iterator[None]:
        """Write the folder of a new run, and hold it; see `lock`.

        Raises:
          RunExistsError, RunBusyError: something is there by now.
          StorageError: the folder cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(self.path, error) from error
        with self.lock():
            self._require_vacant()
            self.write_json(RUN, {"format": FORMAT, "facts": self.facts, "began": self.began})
            self.write_config(self.config)  # last: its presence says that the folder is a run
            yield

    @classmethod
    def create(cls, path: Path | str, config: Config) -> RunFolder:
        """`planned` and `made`, and let go of; errors as theirs."""
        folder = cls.planned(path, config)
        with folder.made():
            return folder

    def _require_vacant(self) -> None:
        path = self.path
        try:
            taken = sorted(entry.name for entry in path.iterdir() if entry.name not in _LEFTOVERS)
        except FileNotFoundError:
            return
        except NotADirectoryError as error:
            if not path.is_file():
                raise storage_error(path, error) from error
            raise RunExistsError(f"{path}: is a file; choose another folder with --out") from error
        except OSError as error:
            raise storage_error(path, error) from error
        if CONFIG in taken:
            raise RunExistsError(
                f"{path}: already holds a run; go on with `muzen resume {path}` or choose another --out"
            )
        if taken:
            raise RunExistsError(f"{path}: is not empty (it holds {taken[0]}); choose a new folder with --out")

    @classmethod
    def open(cls, path: Path | str) -> RunFolder:
        """Open the folder of a run, living or dead, for reading or for going on.

        Raises:
          RunNotFoundError: the folder is not there, or holds no run.
          RunVersionError: a newer Muzen wrote it.
          RunDamagedError: a file is missing or cannot be read.
        """
        path = Path(path)
        if not path.is_dir():
            raise RunNotFoundError(f"{path}: no such folder; give the folder that `muzen train` printed")
        if not (path / CONFIG).is_file():
            raise RunNotFoundError(f"{path}: holds no run (no {CONFIG}); give the folder that `muzen train` printed")
        about = read_json(path / RUN)
        version, facts, began = about.get("format"), about.get("facts"), about.get("began")
        if isinstance(version, int):
            check_version(version, path)
        if not isinstance(version, int) or isinstance(version, bool) or version < 1 or not isinstance(facts, dict):
            raise RunDamagedError(f"{path / RUN}: format or facts are not what Muzen writes; restore it from a copy")
        try:
            return cls(
                path, config_from_dict(read_json(path / CONFIG)), facts, began if isinstance(began, dict) else None
            )
        except ConfigError as error:
            writer, ours = facts.get("muzen", "?"), _version_of("muzen")
            who = "" if writer == ours else f" (Muzen {writer} wrote it, this is {ours})"
            raise RunDamagedError(
                f"{path / CONFIG}: {error}{who}; correct the file or restore it from a copy"
            ) from error

    def write_config(self, config: Config) -> None:
        """Replace the settings, as a resumed run with a larger budget does."""
        self.write_json(CONFIG, to_dict(config))
        self.config = config

    def write_json(self, name: str, data: Any) -> None:
        """Write a JSON file into the folder, whole or not at all.

        Raises:
          StorageError: it cannot be written.
        """
        write_atomic(self.path / name, (json.dumps(data, indent=2) + "\n").encode())

    def differences(self) -> list[str]:
        """What differs from the machine and versions that the run began with, of what its bits depend on."""
        now = environment_facts()
        return [
            f"{name}: {self.facts[name]} when the run began, {now[name]} now"
            for name in _BITS
            if name in self.facts and self.facts[name] != now[name]
        ]

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder against other processes that would train in it.

        The operating system lets go of the lock when the process ends, however it ends: there are no stale locks.

        Raises:
          RunBusyError: another process holds it; the message says which.
          StorageError: the folder cannot be written.
        """
        path = self.path / LOCK
        try:
            file = open(path, "a+b")  # noqa: SIM115 - an error here is the folder's, one below is the caller's
        except OSError as error:
            raise storage_error(path, error) from error
        with file:
            try:
                _lock(file)
            except OSError as error:
                if error.errno in _HELD:
                    file.seek(0)
                    holder = file.read(200).decode(errors="replace").strip()
                    raise RunBusyError(
                        f"{self.path}: is in use by {holder or 'another process'}; wait for it or stop it, "
                        "or choose another --out"
                    ) from None
                warnings.warn(
                    f"{self.path}: lies on a file system that locks no files ({error.strerror}); see to it that no "
                    "other process trains there",
                    stacklevel=3,
                )
                yield
                return
            try:
                # For people: a disk that is full does not take the lock away.
                with contextlib.suppress(OSError):
                    os.ftruncate(file.fileno(), 0)
                    os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                yield
            finally:
                _unlock(file)


def environment_facts() -> dict[str, Any]:
    """Versions, machine and thread count: with the seed, what a run's bits follow from."""
    import jax

    facts: dict[str, Any] = {"python": platform.python_version()}
    facts |= {package: _version_of(package) for package in _PACKAGES}
    facts["system"] = platform.system()
    facts["machine"] = platform.machine()
    facts["processor"] = _cpuinfo("model name") or platform.processor()
    flags = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    facts["instructions"] = " ".join(sorted(flag for flag in flags if flag.startswith(_VECTOR_FLAGS)))
    facts["device"] = f"{jax.default_backend()}: {jax.devices()[0].device_kind}"
    facts["threads"] = _threads()
    facts["xla_flags"] = os.environ.get("XLA_FLAGS", "")
    return facts


def _version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # an extra, or Muzen itself where its source tree is not installed
        return "not installed"


def check_version(version: int, path: Path) -> None:
    """Raises RunVersionError if a newer Muzen wrote this format."""
    if version > FORMAT:
        raise RunVersionError(
            f"{path}: was written in format {version}, and this Muzen reads up to {FORMAT}; "
            "upgrade with `pip install --upgrade muzen`"
        )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
      RunDamagedError: the file is missing, or holds something else.
    """
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise RunDamagedError(
            f"{path}: cannot be read ({error.strerror}); restore the run folder from a copy"
        ) from error
    except (ValueError, RecursionError) as error:
        raise RunDamagedError(f"{path}: is not valid JSON ({error}); restore it from a copy") from error
    if not isinstance(data, dict):
        raise RunDamagedError(f"{path}: holds no JSON object; restore it from a copy")
    return data


def _cpuinfo(name: str) -> str:
    """A field of the first processor, as far as the system tells it."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            field, _, value = line.partition(":")
            if field.strip() == name:
                return value.strip()
    return ""


def _threads() -> int:
    """Threads that XLA computes with: as two variables say, or one for each processor that the process may use."""
    for variable in ("PJRT_NPROC", "NPROC"):
        if (named := os.environ.get(variable, "")).isdecimal():
            return int(named)
    return usable_cores()


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        file.seek(_LOCK_OFFSET)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

    def _unlock(file: IO[bytes]) -> None:
        file.seek(_LOCK_OFFSET)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(file: IO[bytes]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_UN)
