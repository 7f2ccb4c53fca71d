"""Weights of several moments come back as they were, or the message says which there are."""

import numpy as np
import pytest

from muzen.errors import RunDamagedError, RunNotFoundError, StorageError
from muzen.runs import Weights


def test_weights_come_back_by_step(tmp_path):
    kept = Weights(tmp_path)
    assert kept.steps() == []
    for step in (500, 20_000, 3_000):
        kept.save(step, {"a": np.full(3, step, np.float32), "spread": np.array(0.5)})
    assert kept.steps() == [500, 3_000, 20_000]
    assert kept.load(3_000)["a"].tolist() == [3_000] * 3 and float(kept.load(500)["spread"]) == 0.5
    kept.save(500, {"a": np.zeros(1)})
    assert kept.load(500)["a"].tolist() == [0]


def test_weights_of_a_history_that_is_gone_are_dropped(tmp_path):
    kept = Weights(tmp_path)
    for step in (500, 1_000, 1_003):
        kept.save(step, {})
    kept.truncate(1_000)
    assert kept.steps() == [500, 1_000]


def test_a_step_without_weights_names_those_with(tmp_path):
    kept = Weights(tmp_path)
    with pytest.raises(RunNotFoundError, match="no weights of environment step 7; it kept none"):
        kept.load(7)
    kept.save(10, {})
    with pytest.raises(RunNotFoundError, match="it kept those of 10"):
        kept.load(7)


def test_damaged_weights_and_a_folder_that_cannot_be_written_are_named(tmp_path):
    kept = Weights(tmp_path)
    kept.save(10, {"a": np.ones(4)})
    path = tmp_path / "weights" / "10.npz"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(RunDamagedError, match=r"10\.npz"):
        kept.load(10)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        Weights(tmp_path / "file").save(1, {})
