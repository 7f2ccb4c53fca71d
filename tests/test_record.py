import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from imageio import v3 as imageio
from PIL import Image

from muzen.drawing import SIZE, Moment, Thought, frame, limits
from muzen.envs import episode_seed, make, spec_of
from muzen.errors import ConfigError, EnvError, StorageError
from muzen.evaluate import EVALUATION_WORKER
from muzen.record import moments, record
from muzen.types import SearchResult


class FakeAgent:
    """Takes the legal actions in turn."""

    def __init__(self, env):
        self.spec = spec_of(env)
        self.legal = []

    def search(self, observation, legal=None, to_play=0, state=None):
        assert observation.shape == self.spec.observation_shape
        self.legal.append(legal)
        count = self.spec.num_actions
        legal = np.ones(count, bool) if legal is None else legal
        action = int(np.flatnonzero(legal)[len(self.legal) % legal.sum()])
        policy = (legal / legal.sum()).astype(np.float32)[None]
        value = np.array([[50.0 - len(self.legal)]])
        return SearchResult(np.array([action]), policy, value, np.full((1, count), 4), np.ones((1, count)), None)


class Blind(gymnasium.Env):
    """Cannot draw itself; masks its last action; ends after 5 steps."""

    observation_space = spaces.Box(-1, 1, (30,))
    action_space = spaces.Discrete(20)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.observe()

    def step(self, action):
        self.steps += 1
        observation, info = self.observe()
        return observation, 0.5, self.steps == 5, False, info

    def observe(self):
        mask = np.arange(20) < 19
        return self.np_random.normal(size=30).astype(np.float32), {"action_mask": mask}


def test_a_film_has_a_picture_a_step_and_holds_the_last_for_a_second(tmp_path):
    path = record(FakeAgent("CartPole-v1"), "CartPole-v1", tmp_path / "a.gif", max_steps=7, fps=10)
    with Image.open(path) as film:
        assert film.format == "GIF"
        assert film.size == SIZE
        # Equal pictures in a row are stored once, for their time together.
        durations = []
        for i in range(film.n_frames):
            film.seek(i)
            durations.append(film.info["duration"])
        assert sum(durations) == (7 + 10) * 100
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]


@pytest.mark.slow
def test_an_mp4_has_a_picture_a_step_too(tmp_path):
    path = record(FakeAgent("CartPole-v1"), "CartPole-v1", tmp_path / "a.mp4", max_steps=7, fps=10)
    assert imageio.imread(path, plugin="pyav").shape == (7 + 10, SIZE[1], SIZE[0], 3)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_the_environments_own_speed_is_kept_up_to_what_an_eye_follows(tmp_path):
    path = record(FakeAgent("FrozenLake-v1"), "FrozenLake-v1", tmp_path / "a.gif", max_steps=2)
    with Image.open(path) as film:
        assert film.info["duration"] == 250  # FrozenLake says 4 pictures a second


def test_the_film_shows_the_episode_that_evaluation_plays():
    env = make("CartPole-v1", render_mode="rgb_array")
    first = next(moments(FakeAgent("CartPole-v1"), env, 5, 2, 10, 30))
    np.testing.assert_array_equal(first.observation, env.reset(episode_seed(5, EVALUATION_WORKER, 0, 2)).observation)
    env.close()


def test_the_return_and_the_reason_of_the_end_stand_below_the_picture():
    told = [m.facts for m in moments(FakeAgent(Blind), make(Blind), 0, 0, 100, 1)]
    assert told[0].startswith("step 0     return 0     action ")
    assert told[-1] == "step 5     return 2.5     terminated"
    told = [m.facts for m in moments(FakeAgent(Blind), make(Blind), 0, 0, 3, 1)]
    assert told[-1] == "step 3     return 1.5     film stopped at max_steps 3"


def test_a_mask_of_legal_actions_reaches_the_search():
    agent = FakeAgent(Blind)
    list(moments(agent, make(Blind), 0, 0, 2, 1))
    assert [legal.sum() for legal in agent.legal] == [19, 19]
    agent = FakeAgent("CartPole-v1")
    list(moments(agent, make("CartPole-v1"), 0, 0, 2, 1))
    assert [legal.sum() for legal in agent.legal] == [2, 2]


def test_an_environment_that_cannot_draw_is_shown_by_its_numbers(tmp_path):
    assert record(FakeAgent(Blind), Blind, tmp_path / "a.gif", max_steps=2).exists()
    shown = np.asarray(frame(Moment("t", None, np.linspace(-1, 1, 30), "", [])))
    assert (shown[72:400, 24:424] != 255).any()


def test_only_legal_actions_are_listed_and_none_has_a_value_that_nobody_searched():
    """Whatever is said of an illegal action, and whatever fills the value of one without a visit, shows nowhere."""

    def drawn(q):
        visits, legal = np.array([3, 0, 0, 5]), np.array([True, False, True, True])
        thought = Thought(3, np.array([0.3, 0.0, 0.1, 0.6]), visits, np.array(q), legal)
        return np.asarray(frame(Moment("t", None, np.zeros(3), "", [np.zeros(1)], thought)))

    shown = drawn([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(shown, drawn([1.0, 7.0, 8.0, 4.0]))
    assert (shown != drawn([1.0, 2.0, 3.0, 5.0])).any()


@pytest.mark.parametrize("count", [1, 2, 8, 9, 100])
def test_any_number_of_actions_fits_the_frame(count):
    policy = np.full(count, 1 / count)
    thought = Thought(count - 1, policy, np.ones(count, int), policy * -1e6, np.ones(count, bool), policy)
    image = np.asarray(frame(Moment("title", None, np.zeros(3), "facts", [np.array([1.0])], thought)))
    assert image.shape == (SIZE[1], SIZE[0], 3)
    assert (image[:, -8:] == 255).all()
    assert (image[-4:] == 255).all()


def test_a_long_title_leaves_the_right_side_alone():
    short, long = (np.asarray(frame(Moment(t, None, np.zeros(3), ""))) for t in ("a", "python:module:" + "long" * 40))
    np.testing.assert_array_equal(short[:, 470:], long[:, 470:])


@pytest.mark.parametrize("values", [[0.0], [1e-9], [37.2, 80.1], [-500.0], [-0.3, 0.2], [1e7, -2.0]])
def test_the_axis_has_round_ends_that_hold_every_value_and_zero(values):
    low, high = limits(np.array(values)[:, None])
    assert low <= min(*values, 0) <= max(*values, 0) <= high
    assert low < high


def test_the_axis_stays_while_values_move_within_it():
    assert limits(np.array([[81.0]])) == limits(np.array([[81.0], [86.0]]))


def test_a_value_for_each_player_is_a_line_for_each():
    values = [np.array([0.5, -0.5]), np.array([0.7, -0.7])]
    one = np.asarray(frame(Moment("t", None, np.zeros(3), "", [v[:1] for v in values])))
    both = np.asarray(frame(Moment("t", None, np.zeros(3), "", values)))
    assert (one != both).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out": "film.avi"}, r"film\.avi ends in \.avi; name a \.gif or an \.mp4"),
        ({"episodes": 0}, "episodes: 0 is below 1"),
        ({"max_steps": 0}, "max_steps: 0 is below 1"),
        ({"fps": -1}, "fps: -1 is below 1"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        record(FakeAgent("CartPole-v1"), "CartPole-v1", **arguments)


def test_code_of_the_users_is_not_run_because_a_run_names_it():
    agent = FakeAgent(Blind)
    with pytest.raises(EnvError, match="name it again"):
        record(agent)


def test_a_film_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"a\.gif: cannot be written"):
        record(FakeAgent(Blind), Blind, tmp_path / "file" / "a.gif", max_steps=1)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
