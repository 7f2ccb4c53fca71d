"""The table of metrics: open-ended, tolerant of a torn end, the same after a resume."""

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c
from wrapped_file import WrappedFile

from muzen.errors import RunDamagedError, StorageError
from muzen.runs import Metrics, metrics, read_metrics


def written(run, steps):
    table = Metrics(run)
    for step in steps:
        table.write({"env_steps": step, "loss": step / 7})


def test_rows_come_back_as_written_and_may_gain_columns(tmp_path):
    table = Metrics(tmp_path)
    rows = [{"env_steps": 10, "loss": 0.1}, {"env_steps": np.int64(20), "episode_return": np.float32(1.5)}]
    for row in rows:
        table.write(row)
    assert read_metrics(tmp_path) == rows
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line)


def test_numbers_that_are_not_finite_are_null_on_disk_and_nan_when_read(tmp_path):
    Metrics(tmp_path).write({"env_steps": 1, "a": math.nan, "b": -math.inf})
    assert "null" in (tmp_path / "metrics.jsonl").read_text()
    (row,) = read_metrics(tmp_path)
    assert math.isnan(row["a"]) and math.isnan(row["b"])


def test_a_torn_last_line_is_left_out_and_the_next_row_begins_a_line(tmp_path):
    written(tmp_path, [1, 2, 3])
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    for cut in range(1, len(whole.splitlines()[-1]) + 1):
        path.write_bytes(whole[:-cut])
        assert [row["env_steps"] for row in read_metrics(tmp_path)] == [1, 2]
        written(tmp_path, [4])
        assert [row["env_steps"] for row in read_metrics(tmp_path)] == [1, 2, 4]


def test_a_resumed_table_equals_an_uninterrupted_one(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    written(tmp_path / "one", range(0, 100, 10))
    written(tmp_path / "two", range(0, 80, 10))  # the checkpoint was at 55; then it was killed
    table = Metrics(tmp_path / "two")
    table.truncate(55)
    assert read_metrics(tmp_path / "two")[-1]["env_steps"] == 50
    written(tmp_path / "two", range(60, 100, 10))
    assert (tmp_path / "one" / "metrics.jsonl").read_bytes() == (tmp_path / "two" / "metrics.jsonl").read_bytes()


def test_a_row_after_the_checkpoint_of_its_own_step_is_written_once(tmp_path):
    written(tmp_path, [10, 20])
    table = Metrics(tmp_path)
    assert table.rows == 2  # what the checkpoint at 20 keeps; the last row came after it, and then a kill
    written(tmp_path, [20])
    table = Metrics(tmp_path)
    table.truncate(20, 2)
    table.write({"env_steps": 20, "loss": 20 / 7})
    assert [row["env_steps"] for row in read_metrics(tmp_path)] == [10, 20, 20] and table.rows == 3


def test_a_run_without_rows_has_an_empty_table(tmp_path):
    assert read_metrics(tmp_path) == []
    Metrics(tmp_path).truncate(0)
    assert read_metrics(tmp_path) == []


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=50).map(lambda x: x + b"\n"),
        st.sampled_from([b"[]\n", b"3\n", b'{"loss": 1}\n', b'{"env_steps": "x"}\n', b"[" * 100_000 + b"\n"]),
    )
)
def test_a_damaged_line_in_the_middle_is_always_reported_with_its_number(tmp_path, line):
    good = b'{"env_steps": 1}\n'
    (tmp_path / "metrics.jsonl").write_bytes(good + line + good)
    with pytest.raises(RunDamagedError, match=r"metrics\.jsonl: line [2-9]"):
        read_metrics(tmp_path)


class Full(WrappedFile):
    """A file on a full disk: it takes five bytes of what is written."""

    def write(self, data):
        return self.file.write(data[:5])


@pytest.mark.parametrize("full", ["metrics.jsonl", "tfevents"])
def test_a_full_disk_leaves_the_rows_before_it_whole(tmp_path, monkeypatch, full):
    written(tmp_path, [1, 2])
    real = open

    def opened(path, *args, **kwargs):
        file = real(path, *args, **kwargs)
        return Full(file) if full in path.name else file

    with monkeypatch.context() as patch:
        patch.setattr(metrics, "open", opened, raising=False)
        table = Metrics(tmp_path)
        with pytest.raises(StorageError, match="disk is full"):
            table.write({"env_steps": 3})
    table = Metrics(tmp_path)
    table.truncate(2)
    table.write({"env_steps": 4})
    assert [row["env_steps"] for row in read_metrics(tmp_path)] == [1, 2, 4]
    assert [step for path in events_files(tmp_path) for step, _ in events(path)] == [1, 2, 4]


def events_files(run):
    return sorted((run / "tensorboard").iterdir())


def parsed(path):
    """Every event of an event file, whose checksums are verified."""
    data = path.read_bytes()
    while data:
        header, length = data[:8], struct.unpack("<Q", data[:8])[0]
        body, rest = data[12 : 12 + length], data[12 + length :]
        assert data[8:12] + rest[:4] == struct.pack("<II", masked_crc32c(header), masked_crc32c(body))
        yield Event.FromString(body)
        data = rest[4:]


def events(path):
    """(step, values by name) of every row of an event file."""
    rows = [event for event in parsed(path) if event.HasField("summary")]
    return [(event.step, {value.tag: value.simple_value for value in event.summary.value}) for event in rows]


def starts(path):
    """Steps from which an event file hides what earlier ones hold."""
    return [event.step for event in parsed(path) if event.HasField("session_log")]


def test_event_files_hold_the_same_rows(tmp_path):
    written(tmp_path, [7, 14])
    (path,) = events_files(tmp_path)
    assert events(path) == [(7, {"loss": 1.0}), (14, {"loss": 2.0})]


def test_every_sitting_has_an_event_file_of_its_own_that_hides_what_it_writes_again(tmp_path):
    written(tmp_path, [7, 14])
    table = Metrics(tmp_path)
    table.truncate(7)
    table.write({"env_steps": 14, "loss": 3.0})
    first, second = events_files(tmp_path)
    assert starts(first) == [] and starts(second) == [8]
    assert events(first)[-1] == (14, {"loss": 2.0}) and events(second) == [(14, {"loss": 3.0})]
