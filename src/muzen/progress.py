"""What a person sees while a run works: a live display on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from muzen.callbacks import Callback

# Seconds of history that the rate and the time left come from: long enough to be steady, short
# enough to leave compiling and the random steps behind.
RATE_WINDOW_S = 60.0


def duration(seconds: float) -> str:
    """'8 s', '1 min 40 s', '2 h 05 min'."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress(Callback):
    """Environment steps done, recent return, updates per second, time left, and what health checks say.

    Args:
      console: where to; standard error if left out, so that results on standard output stay clean.
      interval_s: seconds between plain lines where there is no terminal.
      clock: seconds, for the pace of plain lines.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        interval_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.console = console or Console(stderr=True, highlight=False)
        self.interval_s, self.clock = interval_s, clock
        self._bars: Bars | None = None
        self._training: TaskID | None = None
        self._evaluation: TaskID | None = None
        self._arena: TaskID | None = None
        self._history: deque[tuple[float, float, float]] = deque()  # (seconds, env_steps, updates)
        self._last_line = -float("inf")
        self._said: set[str] = set()
        self.folder: Any = None  # the run folder, once a run has started

    def on_start(self, run: Any) -> None:
        """Says what runs, where, on what device; opens the display."""
        config, self.folder = run.config, run.folder.path
        self._last_line = self.clock()
        facts = [
            config.env_id,
            f"seed {config.seed}",
            f"{config.env_steps:,} environment steps",
            _device(config.devices),
        ]
        self._print(Text(" · ".join(facts), style="bold"))
        self._print(Text(f"run folder: {self.folder}", style="dim"))
        self._print(Text(run.replay.describe(), style="dim"))
        self._history.append((run.seconds, run.env_steps, run.updates))
        if self.console.is_terminal:
            self._open()
            assert self._bars is not None
            self._training = self._bars.add_task(
                "training", total=config.env_steps, completed=run.env_steps, note="starting"
            )

    def on_report(self, run: Any, row: dict[str, float]) -> None:
        """A row of the metrics table; `row` has at least env_steps, updates and seconds."""
        note = self.note(run.config, row)
        if self._bars is not None and self._training is not None:
            self._bars.update(self._training, completed=row["env_steps"], note=note)
        elif self.clock() - self._last_line >= self.interval_s:
            self._last_line = self.clock()
            share = row["env_steps"] / run.config.env_steps
            self._print(Text(f"{int(row['env_steps']):>9,} steps {min(share, 1):4.0%}  {note}"))

    def note(self, config: Any, row: dict[str, float]) -> str:
        """'return 123.4 · 210 updates/s · 40 s gone, 1 min 10 s left'."""
        history = self._history
        history.append((row["seconds"], row["env_steps"], row["updates"]))
        while len(history) > 2 and row["seconds"] - history[0][0] > RATE_WINDOW_S:
            history.popleft()
        parts = [f"return {row['recent_return']:.1f}" if "recent_return" in row else "return –"]
        if "self_play_return_0" in row:  # a game: what recent_return is measured against
            parts = [f"{parts[0]} against {config.evaluate.opponents.partition(',')[0].strip()}"]
        since, steps, updates = (now - then for now, then in zip(history[-1], history[0], strict=True))
        clock = f"{duration(row['seconds'])} gone"
        if since > 0:
            parts.append(f"{updates / since:.0f} updates/s")
            left = []
            if steps > 0:
                left.append(max(0.0, config.env_steps - row["env_steps"]) * since / steps)
            if config.minutes > 0:
                left.append(max(0.0, config.minutes * 60 - row["seconds"]))
            if left:
                clock += f", {duration(min(left))} left"
        return " · ".join([*parts, clock])

    def on_health(self, run: Any, findings: list[Any]) -> None:
        """Each finding once: a display that repeats itself is not read."""
        for finding in findings:
            if finding.name not in self._said:
                self._said.add(finding.name)
                self._print(Text(f"! {finding.line()}", style="yellow"))

    def on_difference(self, run: Any, lines: list[str]) -> None:
        """What keeps a resumed run from being the same to the bit."""
        for line in lines:
            self._print(Text(f"! not resumed to the bit: {line}", style="yellow"))

    def on_evaluation(self, done: int, episodes: int) -> None:
        """Greedy episodes played so far."""
        if self.console.is_terminal:
            self._open()
            assert self._bars is not None
            if self._evaluation is None:
                self._evaluation = self._bars.add_task("evaluating", total=episodes, note="")
            self._bars.update(self._evaluation, completed=done, note=f"{done} of {episodes} greedy episodes")
            if done == episodes and self._training is None:
                self.close()  # an evaluation on its own has no on_end
        elif done == episodes or self.clock() - self._last_line >= self.interval_s:
            self._last_line = self.clock()
            self._print(Text(f"evaluating: {done} of {episodes} greedy episodes"))

    def on_arena(self, match: str, done: int, games: int) -> None:
        """Games of an arena played so far, in all matches, and the match that goes on."""
        if self.console.is_terminal:
            self._open()
            assert self._bars is not None
            if self._arena is None:
                self._arena = self._bars.add_task("arena", total=games, note="")
            self._bars.update(self._arena, completed=done, note=match)
            if done == games:
                self.close()
        elif done == games or self.clock() - self._last_line >= self.interval_s:
            self._last_line = self.clock()
            self._print(Text(f"arena: {done:,} of {games:,} games · {match}"))

    def on_end(self, run: Any, summary: dict[str, Any]) -> None:
        """Closes the display; the summary itself is the command line's to print."""
        self.close()

    def close(self) -> None:
        """Give the terminal back; harmless when called twice."""
        if self._bars is not None:
            self._bars.stop()
        self._bars = self._training = self._evaluation = self._arena = None

    def _open(self) -> None:
        if self._bars is None:
            self._bars = Bars(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
                TextColumn("{task.fields[note]}", markup=False),  # it may name a folder such as lr[a]
                console=self.console,
            )
            self._bars.start()

    def _print(self, text: Text) -> None:
        self.console.print(text, soft_wrap=not self.console.is_terminal)


def _device(count: int) -> str:
    import jax  # loaded by now; not worth a second to whoever only asks for --help

    device = jax.devices()[0]
    kind = device.device_kind if device.platform != "cpu" else "cpu"
    return kind if count < 2 else f"{count} x {kind}"
