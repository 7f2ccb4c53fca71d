"""The command line, with the training behind it replaced by a fake."""

import contextlib
import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

import muzen
from muzen import api, cli
from muzen.cli import _parse_seeds, main
from muzen.config import Config, load_config, to_dict
from muzen.errors import ConfigError, NonFiniteLossError, RunNotFoundError, UnknownEnvError
from muzen.machine import quoted
from muzen.presets import preset
from muzen.summary import returns, run_summary

EVALUATION = {
    "env_id": "CartPole-v1",
    "episodes": 100,
    "mean_return": 497.25,
    "std_return": 5.0,
    "ci95": (494.0, 500.0),
    "env_steps_trained": 10_000,
    "returns": [497.25] * 100,
}


@dataclasses.dataclass
class FakeApi:
    """Stands for `muzen.api`: remembers what it was asked for."""

    stopped: str = "finished"
    error: BaseException | None = None
    calls: list[dict] = dataclasses.field(default_factory=list)
    there: dict = dataclasses.field(default_factory=dict)

    def _run(self, config, folder):
        evaluation = EVALUATION if self.stopped == "finished" else {}
        return types.SimpleNamespace(
            folder=Path(folder), config=config, stopped=self.stopped, evaluation=evaluation, profile={}, seconds=0.0
        )

    @staticmethod
    def place(out, env_id, which):
        return contextlib.nullcontext(out or Path("runs") / f"{env_id}-{which}")

    began_with = staticmethod(api.began_with)

    def run_in(self, folder, config, began):
        return self.there.get(folder.name)

    def train(self, env, *, config, out, warm_start, profile, callbacks):
        self.calls.append({"env": env, "config": config, "out": out, "warm_start": warm_start})
        if self.error:
            raise self.error
        run = self._run(config, out or "runs/CartPole-v1-seed0")
        run.profile = {"learning step": 6.0, "rest": 2.0} if profile else {}
        return run

    def resume(self, folder, *, env, env_steps=None, minutes=None, callbacks):
        self.calls.append({"folder": folder, "env": env, "env_steps": env_steps, "minutes": minutes})
        return self._run(Config("CartPole-v1"), folder)

    def evaluate(self, folder, *, env, episodes, seed, simulations, progress):
        if self.error:
            raise self.error
        self.calls.append({"folder": folder, "episodes": episodes, "seed": seed, "simulations": simulations})
        return {**EVALUATION, "episodes": episodes}

    def diagnose(self, folder, *, env, episodes, seed):
        self.calls.append({"folder": folder, "episodes": episodes, "seed": seed})
        return types.SimpleNamespace(lines=lambda: ["nothing was wrong"])


@pytest.fixture
def api(monkeypatch):
    fake = FakeApi()
    monkeypatch.setattr(muzen, "api", fake, raising=False)
    monkeypatch.setitem(sys.modules, "muzen.api", fake)
    return fake


@pytest.fixture
def plots(monkeypatch):
    drawn = []
    fake = types.SimpleNamespace(plot_runs=lambda folders, out: drawn.append((folders, out)) or out)
    monkeypatch.setitem(sys.modules, "muzen.plots", fake)
    return drawn


def ended(**changes):
    """The last lines about a run."""
    config = Config("CartPole-v1", minutes=changes.pop("minutes", 0.0))
    run = {"folder": Path("runs/one"), "config": config, "stopped": "finished", "evaluation": EVALUATION}
    named = changes.pop("named", ())
    return run_summary(types.SimpleNamespace(**run | {"profile": {}, "seconds": 0.0} | changes), 12.0, named)


def test_a_run_that_the_clock_ended_is_trained_longer_by_the_clock():
    assert "muzen resume runs/one --env-steps 20000" in ended()
    assert "muzen resume runs/one --minutes 10 " in ended(minutes=5.0)


def test_a_resumed_run_says_how_long_all_of_it_took():
    assert "12 s of wall-clock\n" in ended() and "12 s of wall-clock in this sitting, 10 min 00 s" in ended(
        seconds=600.0
    )


def test_the_next_commands_name_the_users_own_code_and_any_folder():
    own = cli.Resume(Path("x"), network_from="python:mine:make").named("python:my_envs:make_maze")
    text = ended(named=own, folder=Path("my runs/one"))
    for command in ("evaluate", "record", "diagnose", "resume"):
        line = next(line for line in text.splitlines() if line.startswith(f"  muzen {command}"))
        words = shlex.split(line)
        assert words[2] == str(Path("my runs/one"))
        assert words[3:7] == ["--env", "python:my_envs:make_maze", "--network-from", "python:mine:make"]
    assert cli.Resume(Path("x")).named("openspiel:tic_tac_toe") == cli.Resume(Path("x")).named(None) == []


def test_a_file_alone_starts_no_code(api, tmp_path, capsys):
    (tmp_path / "theirs.json").write_text('{"env_id": "python:os:abort"}')
    assert main(["train", "--config", str(tmp_path / "theirs.json")]) == 2
    said = words(capsys.readouterr().err)
    assert "names python:os:abort, which is code" in said and "muzen train python:os:abort --config" in said
    assert not api.calls


def test_a_file_of_an_editor_that_marks_its_encoding_is_read(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbf" + b"seed = 3\n")
    assert load_config(tmp_path / "a.toml", base=Config("CartPole-v1")).seed == 3


def test_help_goes_through_a_pipe_with_an_old_code_page():
    environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
    done = subprocess.run([sys.executable, "-m", "muzen", "train", "--help"], env=environment, capture_output=True)
    assert done.returncode == 0 and b"--search.simulations" in done.stdout and not done.stderr


def words(text):
    """Without a box around it, on one line."""
    return " ".join(re.sub(r"[─│╭╮╰╯]", " ", text).split())


def test_train_uses_the_preset_of_its_environment(api):
    assert main(["train", "Acrobot-v1"]) == 0
    assert api.calls == [
        {"env": "Acrobot-v1", "config": preset("Acrobot-v1"), "out": None, "warm_start": None},
    ]


def test_flags_override_the_preset(api):
    main(["train", "CartPole-v1", "--seed", "3", "--env-steps", "500", "--search.simulations", "8", "--out", "here"])
    config = api.calls[0]["config"]
    assert (config.seed, config.env_steps, config.search.simulations) == (3, 500, 8)
    assert api.calls[0]["out"] == Path("here")


def test_flags_may_come_before_the_environment(api):
    main(["train", "--seed", "3", "Acrobot-v1"])
    assert api.calls[0]["config"] == dataclasses.replace(preset("Acrobot-v1"), seed=3)


def test_a_flag_wins_over_the_file_and_the_file_over_the_preset(api, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("seed = 5\nminutes = 2.0\n", encoding="utf-8")
    main(["train", "Acrobot-v1", "--config", str(path), "--seed", "6"])
    config = api.calls[0]["config"]
    assert (config.seed, config.minutes, config.env_steps) == (6, 2.0, preset("Acrobot-v1").env_steps)


def test_a_file_may_name_the_environment(api, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(to_dict(preset("Acrobot-v1"))), encoding="utf-8")
    assert main(["train", "--config", str(path)]) == 0
    assert api.calls[0]["config"] == load_config(path)


def test_profile_ends_with_where_the_time_went(api, capsys):
    main(["train", "CartPole-v1"])
    assert "where the time went" not in capsys.readouterr().out
    main(["train", "CartPole-v1", "--profile"])
    said = capsys.readouterr().out
    assert "where the time went" in said and "learning step      6.00   75.0%" in said


def test_the_summary_says_what_a_person_wants_to_know(api, capsys):
    main(["train", "CartPole-v1"])
    said = capsys.readouterr().out
    for part in (
        "return 497.2 (95 % interval 494.0 to 500.0) over 100 greedy episodes",
        "10,000 environment steps",
        "of wall-clock",
        "run folder: ",
        "muzen evaluate ",
        "muzen plot ",
        "muzen record ",
        "muzen resume ",
    ):
        assert part in said


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_stopped_run_says_how_to_go_on(api, capsys, name, code):
    api.stopped = name
    assert main(["train", "CartPole-v1", "--out", "here"]) == code
    assert "muzen resume here" in capsys.readouterr().out


def test_an_error_is_one_line_without_a_traceback(api, capsys):
    api.error = RunNotFoundError("nowhere: no such folder")
    assert main(["train", "CartPole-v1"]) == 2
    assert capsys.readouterr().err == "RunNotFoundError: nowhere: no such folder\n"


def test_debug_shows_the_traceback(api):
    api.error = RunNotFoundError("nowhere")
    with pytest.raises(RunNotFoundError):
        main(["train", "CartPole-v1", "--debug"])


def test_ctrl_c_ends_with_130(api):
    api.error = KeyboardInterrupt()
    assert main(["train", "CartPole-v1"]) == 130


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["trian", "CartPole-v1"], "trian: unknown command; did you mean muzen train?"),
        (["fly"], "fly: unknown command; the commands are train, evaluate"),
        (["train"], "env_id: which environment? Give one, such as muzen train CartPole-v1"),
        (["train", "CartPole-v1", "--search.simulations", "0"], "search.simulations: 0 is out of range"),
        (["train", "CartPole-v1", "--search.simulation", "9"], "Perhaps you meant: --search.simulations"),
        (["train", "CartPole-v1", "--search.simulations", "many"], "Error parsing --search.simulations"),
        (["train", "CartPole-v1", "--config", "none.json"], "none.json: cannot be read"),
        (["train", "CartPole-v1", "--seeds", "4-0"], "seeds: '4-0' is not a list of seeds; write 0-4, or 0,3,7"),
        (["plot"], "plot: no run folder given"),
        (["evaluate"], "required"),
    ],
)
def test_bad_input_is_said_on_standard_error_with_exit_code_2(api, capsys, argv, said):
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert said in words(captured.err)
    assert captured.out == ""
    assert not api.calls


def test_a_misspelt_environment_gets_the_nearest_names(capsys):
    assert main(["train", "cartpole"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(UnknownEnvError.__name__)
    assert "did you mean CartPole-v1" in said


def test_seeds_run_one_after_another_and_end_with_a_table_and_a_plot(api, plots, capsys, tmp_path):
    assert main(["train", "CartPole-v1", "--seeds", "0-2", "--out", str(tmp_path / "x")]) == 0
    assert [call["config"].seed for call in api.calls] == [0, 1, 2]
    folders = [tmp_path / "x" / f"seed{seed}" for seed in (0, 1, 2)]
    assert [call["out"] for call in api.calls] == folders
    assert plots == [(folders, tmp_path / "x" / "learning.png")]
    said = capsys.readouterr().out
    assert "interquartile mean" in words(said)
    assert "learning curves: " in said


def test_seeds_stop_at_ctrl_c(api, plots, tmp_path):
    api.stopped = "SIGINT"
    assert main(["train", "CartPole-v1", "--seeds", "0-2", "--out", str(tmp_path / "x")]) == 130
    assert len(api.calls) == 1


@pytest.mark.parametrize(("text", "seeds"), [("0-4", [0, 1, 2, 3, 4]), ("7", [7]), ("0,3,2-4", [0, 3, 2, 4])])
def test_seeds_are_ranges_and_lists(text, seeds):
    assert _parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0,5000000000", "seeds: 5000000000 is out of range"),
        ("0-99999", "seeds: 0-99999 are 100,000 runs; give at most 1,000"),
        ("9" * 5000, "is not a list of seeds"),
    ],
)
def test_seeds_are_refused_before_the_first_one_trains(text, said):
    with pytest.raises(ConfigError, match=said):
        _parse_seeds(text)


@pytest.mark.parametrize("typed", ["--profile CartPole-v1", "CartPole-v1 --profile", "--seed 3 CartPole-v1 --debug"])
def test_help_finds_the_environment_beside_flags_without_a_value(typed, capsys):
    assert main(["train", *typed.split(), "--help"]) == 0
    assert "(default: 10000)" in words(capsys.readouterr().out)


def test_help_shows_what_a_file_sets(tmp_path, capsys):
    (tmp_path / "mine.toml").write_text("env_steps = 12345")
    assert main(["train", "CartPole-v1", "--config", str(tmp_path / "mine.toml"), "--help"]) == 0
    assert "(default: 12345)" in words(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("mean", "interval", "said"),
    [
        (0.021, (0.012, 0.031), "return 0.021 (95 % interval 0.012 to 0.031) over"),
        (0.74, (0.65, 0.82), "return 0.74 (95 % interval 0.65 to 0.82) over"),
        (497.25, (494.0, 500.0), "return 497.2 (95 % interval 494.0 to 500.0) over"),
        (500.0, (500.0, 500.0), "return 500.0 (95 % interval 500.0 to 500.0) over"),
        (0.0, (0.0, 0.0), "return 0.0 (95 % interval 0.0 to 0.0) over"),
    ],
)
def test_a_return_has_as_many_decimals_as_its_interval_needs(mean, interval, said):
    assert returns({"mean_return": mean, "ci95": interval, "episodes": 100, "cut": 0}).startswith(said)


def test_episodes_that_were_cut_off_are_told():
    told = returns({"mean_return": 1.0, "ci95": (1.0, 1.0), "episodes": 9, "cut": 3})
    assert told.endswith("over 9 greedy episodes, 3 of them cut off by evaluate.max_steps")


def test_a_command_to_type_is_quoted_for_the_shell_that_is_there(monkeypatch):
    assert quoted("openspiel:pig(players=3)") == "'openspiel:pig(players=3)'" and quoted("runs/a") == "runs/a"
    monkeypatch.setattr("muzen.machine.os", types.SimpleNamespace(name="nt"))
    assert quoted("runs\\CartPole-v1-seed0") == "runs\\CartPole-v1-seed0" and quoted("my runs") == '"my runs"'


def test_diagnose_plays_as_many_episodes_of_that_seed_as_it_is_told(api, capsys):
    assert main(["diagnose", "here", "--episodes", "7", "--seed", "9"]) == 0
    assert api.calls == [{"folder": Path("here"), "episodes": 7, "seed": 9}]
    assert "nothing was wrong" in capsys.readouterr().out


def test_evaluate_prints_only_json_when_asked(api, capsys):
    assert main(["evaluate", "here", "--episodes", "7", "--seed", "9", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["episodes"] == 7
    assert api.calls == [{"folder": Path("here"), "episodes": 7, "seed": 9, "simulations": None}]


def test_evaluate_says_the_return_in_words(api, capsys):
    main(["evaluate", "here", "--episodes", "1"])
    assert "over 1 greedy episode\n" in capsys.readouterr().out


def test_resume_passes_the_new_budget(api):
    assert main(["resume", "here", "--env-steps", "99"]) == 0
    assert api.calls == [{"folder": Path("here"), "env": None, "env_steps": 99, "minutes": None}]


def test_plot_draws_all_folders_beside_the_first(api, plots, capsys):
    assert main(["plot", "a", "b"]) == 0
    assert plots == [([Path("a"), Path("b")], Path("a/learning.png"))]


def test_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"muzen {muzen.__version__}\n"


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in cli.COMMANDS)


def test_help_shows_every_field_with_its_default(capsys):
    assert main(["train", "Acrobot-v1", "--help"]) == 0
    said = words(capsys.readouterr().out)
    for name, section in to_dict(preset("Acrobot-v1")).items():
        flags = [f"{name}.{leaf}" for leaf in section] if isinstance(section, dict) else [name]
        for flag in flags:
            assert flag == "env_id" or f"--{flag.replace('_', '-')}" in said
    assert f"Budget in environment steps, random ones included. (default: {preset('Acrobot-v1').env_steps})" in said


def test_help_answers_within_a_second_and_a_half():
    took = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "muzen", "--help"], capture_output=True, check=True)
        took.append(time.perf_counter() - began)
    assert b"usage: muzen" in done.stdout
    assert min(took) < 1.5


def test_a_reader_that_leaves_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "muzen", "train", "--help"], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert b"Traceback" not in done.stderr


def test_seeds_go_on_where_an_earlier_call_stopped(api, plots, capsys, tmp_path):
    before = types.SimpleNamespace(folder=Path("x"), config=Config("CartPole-v1"), stopped="finished", profile={})
    before.seconds = 70.0
    done, begun = (types.SimpleNamespace(**vars(before), evaluation=found) for found in (EVALUATION, {}))
    api.there = {"seed0": done, "seed1": begun}
    assert main(["train", "CartPole-v1", "--seeds", "0-2", "--out", str(tmp_path)]) == 0
    assert [call.get("folder") or call["out"] for call in api.calls] == [tmp_path / "seed1", tmp_path / "seed2"]
    assert (api.calls[0]["env"], api.calls[0]["env_steps"]) == ("CartPole-v1", None)  # resumed
    said = capsys.readouterr().out
    assert "seed0: is finished, and stays as it is" in said and "1 min 10 s" in words(said)
    assert len(plots[0][0]) == 3


def test_a_seed_that_fails_does_not_take_the_others_with_it(api, plots, capsys, monkeypatch, tmp_path):
    def train(env, *, config, out, **rest):
        if config.seed == 1:
            raise NonFiniteLossError("value_loss is not finite")
        return api._run(config, out)

    monkeypatch.setattr(api, "train", train)
    assert main(["train", "CartPole-v1", "--seeds", "0-2", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert "seed 1: NonFiniteLossError: value_loss" in said.err and "seeds without a result: 1" in said.err
    assert plots == [([tmp_path / "seed0", tmp_path / "seed2"], tmp_path / "learning.png")]
    assert "interquartile mean" in words(said.out)


@pytest.mark.parametrize("words", [["--seed", "3"], ["--seed=0"]])
def test_one_seed_beside_several_is_refused(api, capsys, words):
    assert main(["train", "CartPole-v1", *words, "--seeds", "0-4"]) == 2
    assert f"seed: {words[-1][-1]}, beside seeds 0-4: give one of the two" in capsys.readouterr().err


def test_the_seed_of_a_file_gives_way_to_several(api, plots, tmp_path):
    (tmp_path / "mine.toml").write_text("seed = 5\n")
    given = ["--config", str(tmp_path / "mine.toml"), "--seeds", "0-1", "--out", str(tmp_path / "x")]
    assert main(["train", "CartPole-v1", *given]) == 0
    assert [call["config"].seed for call in api.calls] == [0, 1]


def test_a_network_and_encodings_of_the_users_own_are_named(api, tmp_path, monkeypatch, capsys):
    (tmp_path / "own_parts.py").write_text(
        "class Even:\n    encode = decode = bins = 3\n\n\neven = Even()\n\n\ndef plain(spec, key):\n    return None\n"
    )
    monkeypatch.chdir(tmp_path)
    given = []
    monkeypatch.setattr(api, "evaluate", lambda folder, **options: given.append(options) or EVALUATION)
    named = ["--network-from", "python:own_parts:plain", "--value-encoding-from", "python:own_parts:Even"]
    assert main(["evaluate", "here", *named, "--reward-encoding-from", "python:own_parts:even"]) == 0
    own = sys.modules["own_parts"]
    assert given[0]["network"] is own.plain and given[0]["reward_encoding"] is own.even
    assert type(given[0]["value_encoding"]) is own.Even
    assert main(["evaluate", "here", "--network-from", "own_parts.plain"]) == 2
    assert main(["evaluate", "here", "--value-encoding-from", "python:own_parts:plain"]) == 2
    assert "python:own_parts:plain: making it failed: TypeError: plain() missing 2" in capsys.readouterr().err
