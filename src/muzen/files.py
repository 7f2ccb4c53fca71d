"""Files that survive a crash: named arrays as bytes, written whole or not at all, checked when read."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from muzen.errors import RunDamagedError, StorageError

TEMPORARY = ".tmp"
WINDOWS_ATTEMPTS = 20
_DISK_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Named arrays as the bytes of an uncompressed .npz, without pickle.

    Raises:
      TypeError: an array's type is not one of numpy's own numbers.
    """
    for name, array in arrays.items():
        if np.asarray(array).dtype.kind not in "biufc":
            raise TypeError(f"{name}: arrays of {np.asarray(array).dtype} cannot be stored; convert to a number type")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            # A fixed date: equal arrays are equal bytes.
            with archive.open(zipfile.ZipInfo(name + ".npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(array, order="C"), allow_pickle=False)
    return buffer.getvalue()


def unpack(data: bytes, source: Path | str) -> dict[str, np.ndarray]:
    """The arrays that `pack` stored.

    Args:
      source: where the bytes came from, for the message.

    Raises:
      RunDamagedError: they are not what `pack` writes.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile and numpy raise many kinds on damaged bytes
        raise RunDamagedError(f"{source}: not a readable array file ({error}); restore it from a copy") from error


def digest(data: bytes) -> str:
    """Checksum of the bytes, 32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def write_atomic(path: Path, data: bytes) -> None:
    """Write the file so that a reader sees the old bytes or the new ones, even after a power cut.

    Raises:
      StorageError: the disk is full or the folder cannot be written; the old file is as it was.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise storage_error(path, error) from error


def read_checked(path: Path, size: int, checksum: str) -> bytes:
    """The bytes of a file, if they are the ones written.

    Raises:
      RunDamagedError: the file is missing, truncated or altered.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunDamagedError(
            f"{path}: cannot be read ({error.strerror}); restore the run folder from a copy"
        ) from error
    if len(data) != size or digest(data) != checksum:
        raise RunDamagedError(
            f"{path}: was changed or cut short after it was written; restore the run folder from a copy"
        )
    return data


def storage_error(path: Path, error: OSError) -> StorageError:
    """What to tell a user whose disk refuses to be written."""
    if error.errno in _DISK_FULL:
        return StorageError(f"{path}: the disk is full; free some space and resume: the last checkpoint is whole")
    return StorageError(
        f"{path}: cannot be written ({error.strerror or error}); check the folder's permissions and disk"
    )


def _replace(source: Path, target: Path) -> None:
    """os.replace, patient on Windows, where a file that another process reads cannot be replaced."""
    for attempt in range(WINDOWS_ATTEMPTS):
        try:
            return os.replace(source, target)
        except PermissionError:
            if os.name != "nt" or attempt == WINDOWS_ATTEMPTS - 1:
                raise
            time.sleep(0.1)


def _sync_folder(folder: Path) -> None:
    """Make a rename outlive a power cut; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems refuse to sync a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
