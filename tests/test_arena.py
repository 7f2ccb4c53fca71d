"""The arena end to end with a tiny agent: its table, files and plot, and clear words for what cannot be played."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from small_runs import UNTAUGHT, untaught

import muzen
from muzen import api, arena_plot
from muzen.actors import Plan
from muzen.agent import Agent
from muzen.arena import _Files
from muzen.cli import main
from muzen.envs import spec_of
from muzen.errors import ConfigError, EnvError, RunNotFoundError, StorageError
from muzen.runs import read_games
from muzen.scoresheet import replay
from muzen.summary import arena_tables

pyspiel = pytest.importorskip("pyspiel")
pytest.importorskip("choix")
TIC_TAC_TOE = "openspiel:tic_tac_toe"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return untaught(TIC_TAC_TOE, tmp_path_factory.mktemp("runs") / "tiny")


class LastLegal:
    """Plans the last legal action: a planner that costs nothing."""

    simulations = 1

    def plan(self, model, observation, legal, to_play, key, *, states, previous=None):
        action = legal.shape[1] - 1 - legal[:, ::-1].argmax(1)
        return Plan(action, np.zeros(legal.shape), np.zeros((len(legal), 3)))


@pytest.mark.slow
def test_training_keeps_the_games_of_its_last_evaluation(run):
    records = read_games(run / "games" / "evaluation.jsonl")
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert [record.returns[i % 2] for i, record in enumerate(records)] == evaluation["returns"]
    assert all(str(list(replay(record))[-1]) for record in records)


def agent_for(game):
    return Agent(None, LastLegal(), spec_of(game))  # type: ignore[arg-type]


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Makes folders that load as agents which cost nothing."""
    made = {}

    def load(folder, simulations=None, step=None):
        if str(folder) not in made:
            raise RunNotFoundError(f"{folder}: no such folder")
        assert step in (None, 500)
        return made[str(folder)]

    def folder(name, game=TIC_TAC_TOE):
        path = tmp_path / name
        path.mkdir(parents=True)
        made[str(path)] = agent_for(game)
        return path

    monkeypatch.setattr(api, "load", load)
    return folder


@pytest.mark.slow
def test_the_command_plays_rates_and_keeps_everything(run, tmp_path, capsys):
    out = tmp_path / "out"
    words = [str(run), "--opponents", "random,mcts:5", "--games", "5", "--seed", "3", "--out", str(out)]
    assert main(["arena", *words, "--json"]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert "arena: 12 of 12 games · tiny against mcts:5" in said.err
    assert [found["opponent"] for found in result["matches"]] == ["random", "mcts:5"]
    assert all(found["win"] + found["draw"] + found["loss"] == found["games"] == 6 for found in result["matches"])
    assert {one["name"] for one in result["elo"]} == {"tiny", "random", "mcts:5"}
    kept = json.loads((out / "arena-1.json").read_text())
    assert kept.pop("format") == 1 and kept == {name: result[name] for name in kept}
    with Image.open(out / "arena-1.png") as picture:
        assert picture.size[0] > 1500 and (np.asarray(picture.convert("RGB")) != 255).any(-1).mean() > 0.02
    records = read_games(out / "games" / "arena-1.jsonl")
    assert len(records) == 12 and {record.players for record in records[:2]} == {("tiny", "random"), ("random", "tiny")}
    for record in records:
        assert tuple(list(replay(record))[-1].returns()) == record.returns
        for i, mover in enumerate(record.movers):
            thought = record.players[mover] == "tiny" and i >= record.info["opening"]
            assert not thought or -1.5 <= record.comments[i]["value"] <= 1.5
    assert main(["show", str(out / "games" / "arena-1.jsonl"), "--game", "2"]) == 0
    assert "game 2 of 12: tic_tac_toe()" in capsys.readouterr().out


def test_a_second_arena_lies_beside_the_first_and_the_command_says_where(folders, capsys):
    folder = folders("mine")
    for number in (1, 2):
        assert main(["arena", str(folder), "--games", "2", "--opening-plies", "0-1"]) == 0
        said = capsys.readouterr().out
        assert "against random" in said and "Elo" in said and f"arena-{number}.json" in said
    assert len(read_games(folder / "games" / "arena-2.jsonl")) == 2


def test_the_same_seed_gives_the_same_games_and_agents_in_hand_may_be_given(tmp_path):
    agent, told = agent_for(TIC_TAC_TOE), []

    def play(**options):
        return muzen.arena(agent, opponents=["random", "minimax:2"], games=6, **options)

    first = play(progress=lambda *now: told.append(now))
    assert first == play() and first["files"] == {} and told[-1] == ("agent against minimax:2", 12, 12)
    assert play(seed=1)["matches"] != first["matches"]
    assert play(out=tmp_path)["matches"] == first["matches"] and (tmp_path / "arena-1.json").exists()


def test_run_folders_may_be_opponents_and_agents_meet_each_other(folders, tmp_path):
    a, b, c = folders("a"), folders("b"), folders("c/a")
    found = muzen.arena([a, b], opponents=f"random,{c}", games=2, out=tmp_path)["matches"]
    met = [(match["player"], match["opponent"]) for match in found]
    # Two folders are called a, so their paths tell them apart.
    assert met == [(str(a), "random"), (str(a), str(c)), ("b", "random"), ("b", str(c)), (str(a), "b")]
    assert all(match["score"] == 0.5 for match in found if match["opponent"] != "random")  # each won as the other did


def test_a_run_may_be_named_as_it_was_at_a_step(folders, capsys):
    mine = folders("mine")
    result = muzen.arena([mine, f"{mine}@500"], opponents=f"random,{folders('other')}@500", games=2)
    assert [match["player"] for match in result["matches"]] == ["mine", "mine", "mine@500", "mine@500", "mine"]
    assert {one["name"] for one in result["elo"]} == {"mine", "mine@500", "other@500", "random"}
    assert result["files"]["result"] == str(mine / "arena-1.json")
    with pytest.raises(ConfigError, match="'last' is no environment step; write DIR@STEP"):
        muzen.arena(f"{mine}@last")


def test_with_three_players_the_agent_has_every_seat():
    game = "openspiel:pig(players=3,winscore=10)"
    (found,) = muzen.arena(agent_for(game), opponents="hold:4", games=4)["matches"]
    assert found["games"] == 6 and [seat["episodes"] for seat in found["seats"]] == [2, 2, 2]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"games": 0}, "games: 0 is below 1"),
        ({"games": -3}, "games: -3 is below 1"),
        ({"seed": -1}, "seed: -1 is out of range"),
        ({"simulations": 0}, "simulations: 0 is below 1"),
        ({"opening_plies": (4, 2)}, r"opening_plies: \(4, 2\) is no range"),
        ({"opponents": "stockfish"}, "no opponent 'stockfish'.*There are random"),
        ({"opponents": "random,random"}, "random is there twice"),
        ({"opponents": "hold:20"}, "a strategy of pig"),
        ({"opponents": []}, "nobody to play against"),
    ],
)
def test_wrong_options_are_told_and_nothing_is_written(tmp_path, options, said):
    with pytest.raises(ConfigError, match=said):
        muzen.arena(agent_for(TIC_TAC_TOE), out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_what_is_no_agent_of_this_game_is_told_so(folders, tmp_path):
    mine, other = folders("mine"), folders("other", "openspiel:mnk(m=3,n=3,k=2)")
    for options in ({"agents": tmp_path / "nowhere"}, {"agents": mine, "opponents": f"random,{tmp_path / 'nowhere'}"}):
        with pytest.raises(RunNotFoundError, match="no such folder"):
            muzen.arena(**options)
    with pytest.raises(ConfigError, match="is there twice"):
        muzen.arena([mine, mine])
    with pytest.raises(ConfigError, match="no agent given"):
        muzen.arena([])
    for options in ({"agents": [mine, other]}, {"agents": mine, "opponents": str(other)}):
        with pytest.raises(EnvError, match=r"other: was trained for openspiel:mnk.*this arena plays openspiel:tic_tac"):
            muzen.arena(**options)
    with pytest.raises(EnvError, match="pole: CartPole-v1 has one player, so there is nobody to play against; use"):
        muzen.arena(folders("pole", "CartPole-v1"))


@pytest.mark.parametrize("words", [[], ["here", "--opening-plies", "x"], ["here", "--games", "x"]])
def test_the_command_refuses_what_it_cannot_read(words, capsys):
    assert main(["arena", *words]) == 2
    assert capsys.readouterr().err


def test_ctrl_c_keeps_the_matches_that_are_done(tmp_path):
    def interrupt(name, done, games):
        if name == "agent against mcts:5" and done > 4:
            raise KeyboardInterrupt

    def stop(name, done, games):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as left:
        muzen.arena(agent_for(TIC_TAC_TOE), opponents="random,mcts:5", games=4, out=tmp_path, progress=interrupt)
    assert left.value.__notes__ == [f"the matches that were played are in {tmp_path / 'arena-1.json'}"]
    with pytest.raises(KeyboardInterrupt):  # before a match is done
        muzen.arena(agent_for(TIC_TAC_TOE), opponents="mcts:5", games=2, out=tmp_path / "none", progress=stop)
    assert not list((tmp_path / "none").rglob("arena*"))
    assert len(json.loads((tmp_path / "arena-1.json").read_text())["matches"]) == 1
    assert len(read_games(tmp_path / "games" / "arena-1.jsonl")) == 4


def test_files_that_cannot_be_written_are_an_error_that_names_them(tmp_path):
    (tmp_path / "file").write_text("")
    played = []
    with pytest.raises(StorageError, match="file"):
        muzen.arena(agent_for(TIC_TAC_TOE), games=2, out=tmp_path / "file", progress=lambda *now: played.append(now))
    assert not played  # and it is told before anything is


def test_two_arenas_at_a_time_have_files_of_their_own(tmp_path):
    first, second = _Files(tmp_path), _Files(tmp_path)
    assert len({*first.paths().values(), *second.paths().values()}) == 6
    (tmp_path / "arena-3.json").touch()
    assert _Files(tmp_path).result.name == "arena-4.json"


def test_openings_that_a_game_has_not_are_told(tmp_path):
    found = muzen.arena(agent_for(TIC_TAC_TOE), games=4, opening_plies=(0, 0), out=tmp_path)
    assert "only 1 of 2 openings differ" in str(arena_tables(found)[0].caption)
    assert "differ" not in str(arena_tables(RESULT)[0].caption)


RESULT = {
    "game": "go(board_size=9)",
    "games": 20,
    "openings": 10,
    "distinct_openings": 10,
    "matches_planned": 3,
    "matches": [
        {"player": "mine", "opponent": name, "games": 20, "win": win, "draw": 0, "loss": 20 - win, "score": win / 20}
        | {f"{part}_ci95": (0.1, 0.9) for part in ("win", "draw", "loss", "score")}
        for name, win in (("random", 20), ("mcts:100", 0), ("minimax:5", 7))
    ],
    "elo": [
        {"name": "mine", "elo": 10.0, "ci95": (-90.0, 110.0), "open_end": None, "games": 60},
        {"name": "lr[a]", "elo": 5.0, "ci95": (-90.0, 110.0), "open_end": "above", "games": 60},
        {"name": "[/x]", "elo": -15.0, "ci95": (-90.0, 110.0), "open_end": "below", "games": 60},
    ],
}


def test_one_sided_matches_are_drawn_too(tmp_path):
    with Image.open(arena_plot.draw(RESULT, tmp_path / "new" / "arena.png")) as picture:
        assert picture.format == "PNG"
    console = Console(file=io.StringIO(), width=100)
    console.print(*arena_tables(RESULT))
    said = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    for part in ("mine +10 -90 to +110 60", "lr[a] +5 -90 and up 60", "[/x] -15 +110 and down 60"):
        assert part in said
    assert "go(board_size=9): 20 games a match" in said
    console.print(arena_tables(RESULT | {"matches_planned": 5})[0])
    assert "go(board_size=9), 3 of 5 matches:" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_page_on_games_is_true(tmp_path, monkeypatch):
    page = Path(__file__).parents[1] / "docs" / "games.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 2
    monkeypatch.chdir(tmp_path)
    small = ", ".join(f"{name.replace('.', '__')}={value}" for name, value in UNTAUGHT.items())
    for number, code in enumerate(blocks, 1):
        made = compile(code.replace("env_steps=2_000", small), f"games.md, Python block {number}", "exec")
        exec(made, {"__name__": "page"})
    assert list(Path("runs/first/games").glob("*.jsonl"))
