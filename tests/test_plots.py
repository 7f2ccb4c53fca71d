import dataclasses
import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from muzen.config import Config, SearchConfig, override
from muzen.errors import ConfigError, RunDamagedError, RunNotFoundError, StorageError
from muzen.plots import Curve, _draw_returns, draw, groups, plot_runs, read_run, run_folders
from muzen.runs import Metrics, RunFolder


def curve(seed=0, *, simulations=16, env_id="CartPole-v1", evaluated=True, rows=20) -> Curve:
    """A made-up run whose return is its share of training, in [0, 100]."""
    config = Config(env_id, seed=seed, search=SearchConfig(simulations=simulations))
    table = []
    for i in range(1, rows + 1):
        row = {"env_steps": 100.0 * i, "seconds": 2.0 * i + seed}
        if i > 1:
            row |= {"recent_return": 5.0 * i, "episode_return": 5.0 * i + 3}
        if i > 3:
            row |= {
                "loss": 1 / i,
                "policy_loss": 1 / i,
                "value_loss": 2 / i,
                "gradient_norm": 1.0,
                "value_explained": 0.5,
            }
        table.append(row)
    evaluation = {"mean_return": 90.0 + seed, "ci95": (88.0 + seed, 92.0 + seed), "returns": [90.0 + seed] * 5}
    return Curve(config, table, evaluation if evaluated else {})


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    "curves",
    [
        [curve(seed) for seed in range(3)],
        [curve(seed, simulations=n) for seed in range(2) for n in (8, 16)],
        [curve(env_id="CartPole-v1"), curve(env_id="Acrobot-v1")],
    ],
    ids=["seeds", "settings", "environments"],
)
def test_learning_curves_are_drawn_as_a_png(curves, tmp_path):
    out = draw(curves, tmp_path / "new folder" / "learning.png")
    drawn = pixels(out)
    assert drawn.shape[1] > 1500
    assert (drawn != 255).any(-1).mean() > 0.02


def test_each_environment_has_its_own_block(tmp_path):
    one = pixels(draw([curve()], tmp_path / "one.png"))
    two = pixels(draw([curve(), curve(env_id="Acrobot-v1")], tmp_path / "two.png"))
    assert two.shape[0] == 2 * one.shape[0]


def test_a_game_is_drawn_by_opponent(tmp_path):
    def game(*opponents):
        made = curve(env_id="openspiel:tic_tac_toe")
        rows = [row | {f"return_against_{name}": row["env_steps"] / 2000 for name in opponents} for row in made.rows]
        return dataclasses.replace(made, rows=rows)

    pictures = [
        pixels(draw([game(*names)], tmp_path / "a.png")) for names in ((), ("random",), ("random", "minimax:3"))
    ]
    assert all((a != b).any() for a, b in itertools.pairwise(pictures))
    figure = Figure()
    axes = figure.subplots()
    _draw_returns(axes, "env_steps", 1, {"return": [game("random", "minimax:3")]})
    assert axes.get_legend_handles_labels()[1][:2] == ["against random", "against minimax:3"]


@pytest.mark.parametrize("others", [[], [curve(1, rows=1), curve(2, rows=5)]], ids=["alone", "beside others"])
def test_a_run_that_has_hardly_begun_is_drawn_too(others, tmp_path):
    draw([curve(rows=0, evaluated=False), *others], tmp_path / "learning.png")


def test_a_column_that_is_not_a_number_in_some_rows_leaves_them_out():
    begun = curve(rows=3)
    begun.rows[1]["recent_return"] = float("nan")
    x, y = begun.series("env_steps", "recent_return")
    assert x.tolist() == [300]
    assert y.tolist() == [15]


def test_runs_that_differ_in_their_seed_alone_are_one_group():
    named = groups([curve(seed) for seed in range(3)])
    assert [len(group) for group in named.values()] == [3]


def test_groups_are_named_by_the_settings_that_differ():
    named = groups([curve(seed, simulations=n) for seed in range(2) for n in (8, 16)])
    assert {name: len(group) for name, group in named.items()} == {
        "search.simulations 8": 2,
        "search.simulations 16": 2,
    }


def test_groups_may_differ_at_the_top_of_the_settings():
    longer = curve(1)
    longer = dataclasses.replace(longer, config=dataclasses.replace(longer.config, env_steps=7))
    assert set(groups([curve(), longer])) == {"env_steps 50000", "env_steps 7"}


def test_runs_that_learned_alike_are_one_group_whatever_they_were_run_on():
    def changed(seed, **settings):
        made = curve(seed)
        return dataclasses.replace(made, config=override(made.config, settings))

    curves = [changed(0), changed(1, devices=2), changed(2, checkpoint_minutes=3.0, minutes=9.0)]
    curves.append(changed(3, **{"evaluate.episodes": 7}))
    assert len(groups(curves)) == 1


def test_the_evaluation_of_a_run_that_was_trained_on_since_is_left_out(tmp_path):
    made = curve()
    folder = RunFolder.create(tmp_path, made.config)
    folder.write_json("evaluation.json", made.evaluation | {"env_steps_trained": 100})
    metrics = Metrics(tmp_path)
    metrics.write({"env_steps": 100})
    assert read_run(tmp_path).evaluation["env_steps_trained"] == 100
    metrics.write({"env_steps": 200})
    assert not read_run(tmp_path).evaluation


def test_run_folders_are_read_and_drawn(tmp_path):
    for seed in range(2):
        made = curve(seed, evaluated=seed == 0)
        folder = RunFolder.create(tmp_path / f"seed{seed}", made.config)
        metrics = Metrics(folder.path)
        for row in made.rows:
            metrics.write(row)
        if made.evaluation:
            folder.write_json("evaluation.json", made.evaluation)
        read = read_run(folder.path)
        assert read.config == made.config
        assert list(read.rows) == list(made.rows)
        assert read.evaluation.get("mean_return") == made.evaluation.get("mean_return")
    out = plot_runs([tmp_path], tmp_path / "learning.png")
    assert pixels(out).any()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"mean_return": "x", "ci95": [1, 2], "returns": [1]}',
        '{"mean_return": 1, "ci95": [1], "returns": [1]}',
        '{"mean_return": 1, "ci95": [1, 2], "returns": [null]}',
        '{"mean_return": NaN, "ci95": [1, 2], "returns": [1]}',
    ],
)
def test_a_damaged_evaluation_is_named(tmp_path, text):
    folder = RunFolder.create(tmp_path / "run", Config("CartPole-v1"))
    (folder.path / "evaluation.json").write_text(text)
    with pytest.raises(RunDamagedError, match=r"evaluation\.json"):
        plot_runs([folder.path], tmp_path / "learning.png")


def test_an_interval_beside_its_mean_is_drawn(tmp_path):
    beside = dataclasses.replace(curve(), evaluation={"mean_return": 1.0, "ci95": (1.5, 2.0), "returns": [1.0]})
    assert pixels(draw([beside], tmp_path / "learning.png")).any()


def test_a_folder_of_run_folders_stands_for_the_runs_in_it(tmp_path):
    for name in ("seed0", "seed1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    assert run_folders([tmp_path]) == [tmp_path / "seed0", tmp_path / "seed1"]
    assert run_folders([tmp_path / "seed1", tmp_path]) == [tmp_path / "seed1", tmp_path / "seed0"]
    assert run_folders(tmp_path) == run_folders(str(tmp_path)) == [tmp_path / "seed0", tmp_path / "seed1"]
    assert run_folders([tmp_path / "seed0", tmp_path / "seed1" / ".." / "seed0"]) == [tmp_path / "seed0"]


def test_runs_that_began_with_something_else_are_not_seeds_of_one():
    cold, warm = curve(0), dataclasses.replace(curve(1), began={"warm_start": "runs/a"})
    assert list(groups([cold, curve(2)])) == ["return"]
    assert list(groups([cold, warm])) == ["warm_start none", "warm_start runs/a"]


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(RunNotFoundError, match=r"holds no run; name run folders"):
        run_folders([tmp_path])
    with pytest.raises(RunNotFoundError, match="does not exist"):
        run_folders([tmp_path / "nowhere"])


def test_a_picture_that_cannot_be_written_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"learning\.png: cannot be written"):
        draw([curve()], tmp_path / "file" / "learning.png")


@pytest.mark.parametrize("kind", ["weird", "pgf"])
def test_a_kind_of_picture_that_there_is_not_is_refused(kind, tmp_path):
    with pytest.raises(
        ConfigError, match=r"ends in \.(weird|pgf), which cannot be drawn; name a \.png, \.pdf or \.svg"
    ):
        plot_runs([tmp_path], tmp_path / f"curve.{kind}")
