"""A film of greedy episodes, with the search's value and policy drawn beside them."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from PIL import Image

from muzen.config import check_count, check_seed
from muzen.drawing import Moment, Thought, frame, palette
from muzen.envs import EnvLike, episode_seed, make, named_again, require_alike
from muzen.errors import ConfigError, StorageError
from muzen.types import Environment, TimeStep

# Faster than this a viewer cannot follow, and a GIF is shown at another speed.
MAX_FPS = 30
# How long the last picture of an episode stays.
HOLD_SECONDS = 1.0


def record(
    run: Any,
    env: EnvLike | None = None,
    out: str | Path | None = None,
    *,
    seed: int = 0,
    episodes: int = 1,
    fps: int | None = None,
    max_steps: int = 1000,
    **own: Any,
) -> Path:
    """Plays greedy episodes, the first ones of `muzen evaluate` with the same seed, and writes a film of them.

    In games the agent has all seats, where `muzen evaluate` has it play against random moves.

    Args:
      run: a run folder, or an agent with `search(observation, legal, to_play, state)`.
      env: the environment; the run's own if left out.
      out: the .gif or .mp4 to write; episode.gif in the run folder (or here, for an agent) if left out.
      seed: of the episodes.
      episodes: how many, at least 1.
      fps: pictures a second, one an environment step; the environment's own, 30 at most, if left out.
      max_steps: environment steps of an episode after which its film stops.
      own: network and encodings of the user's own, as for `load`, where a folder is given.

    Returns:
      The file written.

    Raises:
      ConfigError: `out` is neither .gif nor .mp4, or .mp4 needs a package; a number is out of range.
      EnvError: the environment cannot be made, or is code that must be named again.
      RunError: the run folder cannot be used.
      StorageError: the file cannot be written.
    """
    for name, number in (("episodes", episodes), ("max_steps", max_steps), ("fps", fps or 1)):
        check_count(name, number)
    check_seed(seed)
    agent, folder = run, Path()
    if isinstance(run, str | Path):
        from muzen.api import load

        agent, folder = load(run, **own), Path(run)
    path = Path(out) if out is not None else folder / "episode.gif"
    _check_kind(path)
    source = named_again(env, agent.spec.id)
    made = make(source, render_mode="rgb_array", past_actions=agent.spec.past_actions)
    try:
        require_alike(agent.spec, made.spec)
        metadata = getattr(getattr(made, "env", None), "metadata", None) or {}
        speed = fps or min(MAX_FPS, int(metadata.get("render_fps") or MAX_FPS))
        images = (frame(m) for i in range(episodes) for m in moments(agent, made, seed, i, max_steps, speed))
        _write(images, path, speed)
    finally:
        made.close()
    return path


def moments(agent: Any, env: Environment, seed: int, episode: int, max_steps: int, fps: int) -> Iterator[Moment]:
    """One greedy episode, a moment for every step and the end of it held for a while."""
    from muzen.evaluate import EVALUATION_WORKER

    title = f"{env.spec.id} · seed {seed}, episode {episode}"
    now = env.reset(episode_seed(seed, EVALUATION_WORKER, 0, episode))
    values: list[np.ndarray] = []
    total, step = 0.0, 0
    while True:
        ended = "terminated" if now.terminated else "truncated" if now.truncated else ""
        ended = ended or (f"film stopped at max_steps {max_steps}" if step == max_steps else "")
        facts = f"step {step}     return {total:.4g}"
        picture = _render(env)
        if ended:
            last = Moment(title, picture, now.observation, f"{facts}     {ended}", values)
            yield from [last] * max(1, round(HOLD_SECONDS * fps))
            return
        thought, value = _think(agent, env, now)
        values.append(value)
        yield Moment(title, picture, now.observation, f"{facts}     action {thought.action}", values, thought)
        now = env.step(thought.action)
        total, step = total + float(now.reward[0]), step + 1


def _think(agent: Any, env: Environment, now: TimeStep) -> tuple[Thought, np.ndarray]:
    """Searches one observation; the value is [P], environment units."""
    found = agent.search(now.observation, now.legal, now.to_play, now.state)
    policy, visits, q = (np.asarray(x)[0] for x in (found.policy, found.visits, found.q))
    prior = _prior(agent, now)
    thought = Thought(int(np.asarray(found.action)[0]), policy, visits, q, now.legal, prior)
    return thought, np.asarray(found.value)[0]


def _prior(agent: Any, now: TimeStep) -> np.ndarray | None:
    """[A] the network's own policy over legal actions, or None where the agent does not show its model."""
    model = getattr(agent, "model", None)
    if model is None:
        return None
    logits = np.where(now.legal, np.asarray(_policy_logits()(model, now.observation[None]))[0], -np.inf)
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


@functools.lru_cache(maxsize=1)
def _policy_logits() -> Callable[[Any, np.ndarray], Any]:
    """Compiled once; jax is loaded only where there is a model to ask."""
    import equinox as eqx

    return eqx.filter_jit(lambda model, observation: model.initial(observation).policy_logits)


def _render(env: Environment) -> Any:
    """A frame, the environment's text, or None where it cannot draw."""
    render = getattr(env, "render", None)
    if render is None or getattr(env, "render_mode", None) is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a drawing library's own affairs
            picture = render()
    except (gymnasium.error.Error, NotImplementedError):
        return None
    return picture if isinstance(picture, np.ndarray | str) else None


def _check_kind(path: Path) -> None:
    if path.suffix not in (".gif", ".mp4"):
        raise ConfigError(f"out: {path} ends in {path.suffix or 'nothing'}; name a .gif or an .mp4")
    if path.suffix == ".mp4":
        try:
            import av  # noqa: F401  # pyright: ignore[reportMissingImports]
            import imageio  # noqa: F401  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError as error:
            raise ConfigError(f"out: {path} needs: pip install 'muzen[video]'; or name a .gif") from error


def _write(images: Iterator[Image.Image], path: Path, fps: int) -> None:
    """Writes beside the file and renames, so that a kill leaves no half film."""
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".gif":
            _write_gif(images, part, fps)
        else:
            _write_mp4(images, part, fps)
        part.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _write_gif(images: Iterator[Image.Image], path: Path, fps: int) -> None:
    first = next(images)
    # One palette for all: choosing one per picture takes most of the time, and flickers.
    colours = palette(first)
    rest = (image.quantize(palette=colours, dither=Image.Dither.NONE) for image in images)
    start = first.quantize(palette=colours, dither=Image.Dither.NONE)
    start.save(path, "GIF", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, optimize=False)


def _write_mp4(images: Iterator[Image.Image], path: Path, fps: int) -> None:
    from imageio import v3 as imageio  # pyright: ignore[reportMissingImports]

    # PyAV, not imageio's ffmpeg: that forks, which JAX's threads may deadlock.
    film: Any
    with imageio.imopen(path, "w", plugin="pyav") as film:
        film.init_video_stream("libx264", fps=fps)
        for image in images:
            film.write_frame(np.asarray(image))
