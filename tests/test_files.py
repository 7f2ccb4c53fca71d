"""Files are written whole or not at all, and read only if they are what was written."""

import contextlib
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muzen import files
from muzen.errors import RunDamagedError, StorageError


def test_packed_arrays_come_back_with_type_shape_and_bits():
    arrays = {
        "a/b": np.random.default_rng(0).normal(size=(3, 4)),
        "scalar": np.array(3, np.int32),
        "empty": np.zeros((0, 5), np.uint8),
        "flags": np.array([True, False]),
        "special": np.array([np.nan, np.inf, -0.0], np.float32),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    }
    back = files.unpack(files.pack(arrays), "memory")
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype and back[name].shape == array.shape
        assert back[name].tobytes() == array.tobytes()


def test_equal_arrays_are_equal_bytes():
    assert files.pack({"x": np.arange(5)}) == files.pack({"x": np.arange(5)})


@pytest.mark.parametrize("array", [np.array([object()]), np.array(["text"]), np.zeros(2, "V4")])
def test_only_numbers_are_packed(array):
    with pytest.raises(TypeError, match="x: arrays of"):
        files.pack({"x": array})


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Attack:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    np.savez(tmp_path / "attack.npz", x=np.array([Attack()], dtype=object))
    for data in (pickle.dumps(Attack()), (tmp_path / "attack.npz").read_bytes()):
        with pytest.raises(RunDamagedError):
            files.unpack(data, "attack")
    assert not (tmp_path / "ran").exists()


@given(st.binary(max_size=300))
def test_bytes_that_are_no_arrays_are_damage(data):
    with pytest.raises(RunDamagedError, match="somewhere"):
        files.unpack(data, "somewhere")


@given(at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_flipped_byte_never_escapes_as_a_library_error(at, flip):
    data = bytearray(files.pack({"x": np.arange(20.0), "y": np.ones(3, bool)}))
    data[at % len(data)] ^= flip
    with contextlib.suppress(RunDamagedError):
        files.unpack(bytes(data), "x")


def test_a_read_checks_size_and_content(tmp_path):
    path = tmp_path / "file"
    files.write_atomic(path, b"hello")
    assert files.read_checked(path, 5, files.digest(b"hello")) == b"hello"
    for size, checksum in ((4, files.digest(b"hello")), (5, files.digest(b"jello")), (None, None)):
        with pytest.raises(RunDamagedError, match="changed or cut short"):
            files.read_checked(path, size, checksum)
    with pytest.raises(RunDamagedError, match="cannot be read"):
        files.read_checked(tmp_path / "gone", 5, "")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write_atomic(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(files.os, name, full)
            with pytest.raises(StorageError, match="disk is full"):
                files.write_atomic(path, b"new")
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="cannot be written"):
        files.write_atomic(tmp_path / "none" / "file", b"")
