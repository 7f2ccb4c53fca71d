"""A run folder is created once, opened by anyone, trained in by one process, and says what is wrong with it."""

import errno
import json
import os
import platform
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muzen.config import Config, load_config
from muzen.errors import (
    MuzenError,
    RunBusyError,
    RunDamagedError,
    RunExistsError,
    RunNotFoundError,
    RunVersionError,
    StorageError,
)
from muzen.runs import RunFolder, environment_facts, folder

CONFIG = Config("CartPole-v1", seed=3)


def test_a_folder_opens_as_it_was_created(tmp_path):
    created = RunFolder.create(tmp_path / "deep" / "run", CONFIG)
    opened = RunFolder.open(str(tmp_path / "deep" / "run"))
    assert (opened.path, opened.config, opened.facts) == (created.path, CONFIG, created.facts)
    assert opened.differences() == []
    assert load_config(created.path / "config.json") == CONFIG


def test_the_folder_records_versions_machine_and_threads(tmp_path):
    facts = RunFolder.create(tmp_path / "run", CONFIG).facts
    assert {"python", "jax", "jaxlib", "numpy", "numba", "machine", "processor", "device", "threads"} <= facts.keys()
    assert facts["threads"] >= 1


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64") or sys.platform != "linux", reason="reads x86 flags")
def test_the_folder_records_the_processors_vector_instructions(tmp_path):
    assert "sse2" in RunFolder.create(tmp_path / "run", CONFIG).facts["instructions"].split()


@pytest.mark.parametrize(
    ("variables", "threads"), [({"NPROC": "3"}, 3), ({"PJRT_NPROC": "5", "NPROC": "3"}, 5), ({"NPROC": ""}, None)]
)
def test_threads_are_those_that_xla_is_told_to_use(monkeypatch, variables, threads):
    monkeypatch.delenv("NPROC", raising=False)
    monkeypatch.delenv("PJRT_NPROC", raising=False)
    otherwise = environment_facts()["threads"]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert environment_facts()["threads"] == (threads or otherwise)


def test_what_bits_depend_on_is_compared_on_resume(tmp_path):
    RunFolder.create(tmp_path, CONFIG)
    about = json.loads((tmp_path / "run.json").read_text())
    about["facts"] |= {"threads": 64, "python": "2.7"}
    (tmp_path / "run.json").write_text(json.dumps(about))
    (line,) = RunFolder.open(tmp_path).differences()
    assert line.startswith("threads: 64 when the run began, ")


def test_a_fact_that_an_older_muzen_did_not_record_is_no_difference(tmp_path):
    RunFolder.create(tmp_path, CONFIG)
    about = json.loads((tmp_path / "run.json").read_text())
    del about["facts"]["instructions"]
    (tmp_path / "run.json").write_text(json.dumps(about))
    assert RunFolder.open(tmp_path).differences() == []


def test_settings_can_be_replaced(tmp_path):
    folder = RunFolder.create(tmp_path, CONFIG)
    folder.write_config(Config("CartPole-v1", seed=4))
    assert folder.config.seed == RunFolder.open(tmp_path).config.seed == 4


def test_a_folder_that_holds_a_run_is_never_overwritten(tmp_path):
    RunFolder.create(tmp_path, CONFIG)
    with pytest.raises(RunExistsError, match="muzen resume"):
        RunFolder.create(tmp_path, Config("Acrobot-v1"))
    assert RunFolder.open(tmp_path).config == CONFIG


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunExistsError, match=r"thesis\.tex"):
        RunFolder.create(tmp_path, CONFIG)
    with pytest.raises(RunExistsError, match="is a file"):
        RunFolder.create(tmp_path / "thesis.tex", CONFIG)


def test_what_a_killed_creation_left_does_not_stand_in_the_way(tmp_path):
    for name in ("run.json", "lock", "config.json.tmp"):
        (tmp_path / name).touch()
    RunFolder.create(tmp_path, CONFIG)
    assert RunFolder.open(tmp_path).config == CONFIG


def test_folders_without_a_run_are_told_apart_from_damage(tmp_path):
    with pytest.raises(RunNotFoundError, match="no such folder"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(RunNotFoundError, match="holds no run"):
        RunFolder.open(tmp_path)


def test_a_newer_format_is_refused_with_the_way_out(tmp_path):
    RunFolder.create(tmp_path, CONFIG)
    for newer in ('{"format": 99, "facts": {}}', '{"format": 99, "about": []}'):
        (tmp_path / "run.json").write_text(newer)
        with pytest.raises(RunVersionError, match="pip install --upgrade"):
            RunFolder.open(tmp_path)


def test_a_setting_of_another_muzen_says_which_wrote_it(tmp_path):
    RunFolder.create(tmp_path, CONFIG)
    settings_, about = (json.loads((tmp_path / name).read_text()) for name in ("config.json", "run.json"))
    (tmp_path / "config.json").write_text(json.dumps(settings_ | {"telepathy": True}))
    about["facts"]["muzen"] = "7.0"
    (tmp_path / "run.json").write_text(json.dumps(about))
    with pytest.raises(RunDamagedError, match=r"telepathy.*Muzen 7\.0 wrote it, this is"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize("package", ["muzen", "optax", "open_spiel"])
def test_other_versions_of_what_computes_are_told(package, tmp_path):
    RunFolder.create(tmp_path, CONFIG)
    about = json.loads((tmp_path / "run.json").read_text())
    about["facts"][package] = "0.0.1"
    (tmp_path / "run.json").write_text(json.dumps(about))
    (line,) = RunFolder.open(tmp_path).differences()
    assert line.startswith(f"{package}: 0.0.1 when the run began, ")


def test_a_file_system_without_locks_is_told_and_used(tmp_path, monkeypatch):
    run = RunFolder.create(tmp_path, CONFIG)

    def none(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folder, "_lock", none)
    with pytest.warns(UserWarning, match="locks no files"), run.lock():
        pass


def test_a_disk_that_is_full_does_not_take_the_lock_away(tmp_path, monkeypatch):
    run = RunFolder.create(tmp_path, CONFIG)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder.os, "write", full)
    with run.lock(), pytest.raises(RunBusyError), run.lock():
        pass


def test_of_two_that_begin_in_one_folder_one_is_refused(tmp_path):
    first, second = (RunFolder.planned(tmp_path / "run", CONFIG) for _ in range(2))
    with first.made():
        with pytest.raises(RunBusyError), second.made():
            pass
        assert RunFolder.open(tmp_path / "run").config == CONFIG
    with pytest.raises(RunExistsError), second.made():
        pass


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        RunFolder.create(tmp_path / "file" / "run", CONFIG)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["config.json", "run.json"]),
    content=st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
            lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(["format", "facts", "env_id"]), x),
            max_leaves=6,
        ).map(lambda x: json.dumps(x).encode()),
        st.just(b"[" * 100_000),
    ),
)
def test_damaged_settings_are_always_an_error_of_muzen(tmp_path, name, content):
    folder = tmp_path / "run"
    if not folder.exists():
        RunFolder.create(folder, CONFIG)
    original = (folder / name).read_bytes()
    (folder / name).write_bytes(content)
    try:
        RunFolder.open(folder)
    except MuzenError as error:
        assert str(folder) in str(error)
    finally:
        (folder / name).write_bytes(original)


def test_a_missing_file_is_damage(tmp_path):
    RunFolder.create(tmp_path, CONFIG)
    (tmp_path / "run.json").unlink()
    with pytest.raises(RunDamagedError, match=r"run\.json"):
        RunFolder.open(tmp_path)


def test_two_cannot_train_in_one_folder_and_the_lock_opens_again(tmp_path):
    folder = RunFolder.create(tmp_path, CONFIG)
    other = RunFolder.open(tmp_path).lock()
    with folder.lock(), pytest.raises(RunBusyError, match=f"process {os.getpid()} on"), other:
        pass
    with RunFolder.open(tmp_path).lock():
        pass


HOLDER = """
import sys, time
from muzen.config import Config
from muzen.runs import RunFolder, environment_facts, folder
with RunFolder(sys.argv[1], Config("x"), {}).lock():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX")
def test_the_lock_of_a_killed_process_is_not_stale(tmp_path):
    folder = RunFolder.create(tmp_path, CONFIG)
    script = HOLDER.replace("RunFolder(sys.argv[1]", "RunFolder(__import__('pathlib').Path(sys.argv[1])")
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(RunBusyError, match=f"process {process.pid} on"), folder.lock():
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    began = time.monotonic()
    with folder.lock():
        assert time.monotonic() - began < 1
