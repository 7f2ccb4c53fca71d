"""What a person sees of a run: live on a terminal, plain lines elsewhere."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from muzen.config import Config
from muzen.progress import Progress, duration

RUN = SimpleNamespace(
    config=Config("CartPole-v1", env_steps=10_000),
    folder=SimpleNamespace(path=Path("runs/here")),
    replay=SimpleNamespace(describe=lambda: "replay: up to 1.0 GB, 1.3 M steps"),
    env_steps=0,
    updates=0,
    seconds=0.0,
)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def shown(terminal):
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, highlight=False)
    return Progress(console, clock=clock), clock, out


def row(steps, seconds, **more):
    return {"env_steps": steps, "updates": steps // 2, "seconds": seconds, **more}


def test_without_a_terminal_a_line_comes_every_ten_seconds():
    progress, clock, out = shown(terminal=False)
    progress.on_start(RUN)
    before = len(out.getvalue().splitlines())
    for second in range(1, 31):
        clock.now = float(second)
        progress.on_report(RUN, row(100 * second, second, recent_return=20.0))
    progress.on_end(RUN, {})
    lines = out.getvalue().splitlines()[before:]
    assert len(lines) == 3
    assert " ".join(lines[0].split()) == "1,000 steps 10% return 20.0 · 50 updates/s · 10 s gone, 1 min 30 s left"


def test_the_start_says_what_runs_and_where():
    progress, _, out = shown(terminal=False)
    progress.on_start(RUN)
    said = out.getvalue()
    for part in ("CartPole-v1", "seed 0", "10,000 environment steps", "cpu", "runs/here", "up to 1.0 GB"):
        assert part in said


def test_a_terminal_shows_a_bar_and_is_given_back():
    progress, _, out = shown(terminal=True)
    progress.on_start(RUN)
    progress.on_report(RUN, row(2_500, 10, recent_return=20.0))
    progress.on_report(RUN, row(5_000, 20, recent_return=321.0))
    for done in range(1, 4):
        progress.on_evaluation(done, 3)
    progress.on_end(RUN, {})
    said = out.getvalue()
    assert "5,000/10,000" in said
    assert "return 321.0" in said
    assert "3 of 3 greedy episodes" in said
    assert "\x1b[?25h" in said  # the cursor is back


def test_an_arena_shows_its_games_and_the_present_match():
    for terminal in (False, True):
        progress, clock, out = shown(terminal)
        for done in range(1, 201):
            clock.now += 0.5
            progress.on_arena("mine against random" if done <= 100 else "mine against mcts:100", done, 200)
        said = out.getvalue()
        last = "200/200" if terminal else "arena: 200 of 200 games · mine against mcts:100\n"
        assert last in said
        assert terminal or len(said.splitlines()) == 11
        assert not terminal or "\x1b[?25h" in said


def test_the_name_of_a_match_is_no_markup():
    progress, _, out = shown(terminal=True)
    progress.on_arena("lr[a] against random", 3, 40)
    progress.close()
    assert "lr[a] against random" in out.getvalue()


def test_time_left_is_the_budget_that_ends_first():
    progress, _, _ = shown(terminal=False)
    config = Config("CartPole-v1", env_steps=10_000, minutes=1.0)
    progress.note(config, row(1_000, 10))
    assert progress.note(config, row(2_000, 20)).endswith("20 s gone, 40 s left")
    assert Progress(Console(file=io.StringIO())).note(config, row(2_000, 20)).endswith("20 s gone")


def test_the_rate_forgets_the_slow_start():
    progress, _, _ = shown(terminal=False)
    config = Config("CartPole-v1", env_steps=100_000)
    for second in range(100, 300, 10):
        note = progress.note(config, row(100 * second, second))
    assert "50 updates/s" in note


def test_a_finding_is_shown_once():
    progress, _, out = shown(terminal=False)
    finding = SimpleNamespace(name="policy", line=lambda: "policy: stuck at uniform; raise search.simulations")
    for _ in range(3):
        progress.on_health(RUN, [finding])
    assert out.getvalue() == "! policy: stuck at uniform; raise search.simulations\n"


def test_a_resumed_run_says_what_differs():
    progress, _, out = shown(terminal=False)
    progress.on_difference(RUN, ["environment 3 restarts its episode"])
    assert out.getvalue() == "! not resumed to the bit: environment 3 restarts its episode\n"


def test_closing_twice_is_harmless():
    progress, _, _ = shown(terminal=True)
    progress.on_start(RUN)
    progress.close()
    progress.close()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (100, "1 min 40 s"), (7_500, "2 h 05 min"), (-1, "0 s")]
)
def test_durations_read_like_speech(seconds, text):
    assert duration(seconds) == text
