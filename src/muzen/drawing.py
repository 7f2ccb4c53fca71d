"""One frame of a recorded episode: the picture on the left, what the search thinks on the right.

Drawn with Pillow at twice the size and halved, which smooths lines as a plotting library would at a tenth of the time.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

SIZE = (880, 480)  # pixels; even, as video codecs want
# Actions drawn; of more, those with the largest improved policy.
MAX_ACTIONS = 8
_TWICE = 2
_INK, _MUTED, _LINE, _PAPER, _STRIP = "#202124", "#6b7178", "#dadce0", "#ffffff", "#eaf3fb"
_BARS = (("prior", "#b4bac1"), ("visits", "#56b4e9"), ("policy", "#d55e00"))
_VALUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_PICTURE = (24, 72, 424, 402)  # left, top, right, bottom
_CHART = (520, 72, 840, 190)
_ROWS = (472, 262, 856, 470)


@dataclass(frozen=True)
class Thought:
    """What the search said of one observation; policies, q and `legal` are [A], `prior` may be missing."""

    action: int
    policy: np.ndarray
    visits: np.ndarray
    q: np.ndarray
    legal: np.ndarray
    prior: np.ndarray | None = None


@dataclass
class Moment:
    """What one frame shows.

    Attributes:
      title: of the whole film.
      picture: [height, width, 3] uint8 as the environment draws it, its text, or None to show the observation.
      observation: [size] as the network sees it.
      facts: a line below the picture.
      values: search values so far, a list of [P] entries in environment units.
      thought: None once the episode is over.
    """

    title: str
    picture: Any
    observation: np.ndarray
    facts: str
    values: Sequence[np.ndarray] = field(default_factory=list)
    thought: Thought | None = None


def frame(moment: Moment) -> Image.Image:
    """Draws one frame, `SIZE` pixels, RGB."""
    image = _background().copy()
    draw = ImageDraw.Draw(image)
    _text(draw, (24, 22), _fitting(moment.title, 430, 17), 17, bold=True)
    below = _picture(image, draw, moment)
    _text(draw, (24, below + 14), moment.facts, 13)
    _chart(draw, moment.values)
    if moment.thought is not None:
        _actions(draw, moment.thought)
    return image.reduce(_TWICE)


@functools.lru_cache(maxsize=1)
def _background() -> Image.Image:
    """What every frame has in common."""
    image = Image.new("RGB", (SIZE[0] * _TWICE, SIZE[1] * _TWICE), _PAPER)
    draw = ImageDraw.Draw(image)
    _text(draw, (472, 42), "search value", 13, bold=True)
    _text(draw, (472, 216), "root actions", 13, bold=True)
    x = 580
    for name, colour in _BARS:
        draw.rectangle(_scaled(x, 219, x + 12, 229), fill=colour)
        _text(draw, (x + 17, 216), name, 11, colour=_MUTED)
        x += 66
    _text(draw, (806, 238), "q", 11, colour=_MUTED, anchor="ra")
    _text(draw, (856, 238), "visits", 11, colour=_MUTED, anchor="ra")
    return image


def palette(image: Image.Image) -> Image.Image:
    """256 colours to reduce a whole film to: the panels' own exactly, those of one picture, and some of every kind."""
    names = (_INK, _MUTED, _LINE, _PAPER, _STRIP, *_VALUES, *(colour for _, colour in _BARS))
    colours = [ImageColor.getrgb(name)[:3] for name in names]
    levels = (0, 51, 102, 153, 204, 255)
    colours += [(r, g, b) for r in levels[1::2] for g in levels for b in levels[::2]]
    flat = [channel for colour in colours for channel in colour]
    flat += (image.quantize(256 - len(colours)).getpalette() or [])[: 768 - len(flat)]
    made = Image.new("P", (1, 1))
    made.putpalette(flat)
    return made


def _picture(image: Image.Image, draw: ImageDraw.ImageDraw, moment: Moment) -> float:
    """Draws the left side; returns where it ends, in pixels from the top."""
    left, top, right, bottom = _PICTURE
    picture = moment.picture
    if isinstance(picture, np.ndarray) and picture.ndim == 3:
        shown = Image.fromarray(np.ascontiguousarray(picture[..., :3], np.uint8))
        scale = min((right - left) / shown.width, (bottom - top) / shown.height) * _TWICE
        shape = max(1, round(shown.width * scale)), max(1, round(shown.height * scale))
        # Few large pixels are meant to be seen as pixels.
        how = Image.Resampling.NEAREST if shown.width < 64 else Image.Resampling.BILINEAR
        shown = shown.resize(shape, how)
        at = left * _TWICE + ((right - left) * _TWICE - shape[0]) // 2, top * _TWICE
        image.paste(shown, at)
        draw.rectangle((at[0], at[1], at[0] + shape[0] - 1, at[1] + shape[1] - 1), outline=_LINE, width=_TWICE)
        return top + shape[1] / _TWICE
    draw.rectangle(_scaled(*_PICTURE), outline=_LINE, width=_TWICE)
    if isinstance(picture, str):
        lines = picture.splitlines()
        # A small board is drawn large; 46 columns and 18 lines fit at the smallest size.
        most = max(len(lines), max(map(len, lines), default=1) * 18 / 46, 1)
        size = int(min(40, max(12, 12 * 18 / most)))
        for i, line in enumerate(lines[:18]):
            _text(draw, (left + 14, top + 12 + round(1.42 * size) * i), line[:46], size, mono=True)
    else:
        _observation(draw, moment.observation)
    return bottom


def _observation(draw: ImageDraw.ImageDraw, observation: np.ndarray) -> None:
    """The numbers themselves, where the environment cannot draw."""
    left, top, right, _ = _PICTURE
    _text(draw, (left + 14, top + 12), "observation", 12, colour=_MUTED)
    count = min(len(observation), 15)
    largest = float(np.abs(observation).max()) or 1.0
    middle = left + 270
    for i in range(count):
        y = top + 38 + 19 * i
        value = float(observation[i])
        _text(draw, (left + 14, y), str(i), 11, colour=_MUTED)
        _text(draw, (left + 140, y), f"{value:.4g}", 11, anchor="ra", mono=True)
        end = middle + value / largest * 110
        draw.rectangle(_scaled(min(middle, end), y + 2, max(middle, end), y + 11), fill="#56b4e9")
    if count < len(observation):
        _text(draw, (right - 14, top + 12), f"first {count} of {len(observation)}", 11, colour=_MUTED, anchor="ra")


def _chart(draw: ImageDraw.ImageDraw, values: Sequence[np.ndarray]) -> None:
    left, top, right, bottom = _CHART
    for y in (top, bottom):
        draw.line(_scaled(left, y, right, y), fill=_LINE, width=_TWICE)
    if not values:
        return
    table = np.asarray(values, float).reshape(len(values), -1)
    low, high = limits(table)
    span = max(50, len(values))
    for y, number in ((top, high), (bottom, low)):
        _text(draw, (left - 8, y - 7), f"{number:g}", 11, colour=_MUTED, anchor="ra")
    _text(draw, (left, bottom + 5), "0", 11, colour=_MUTED)
    _text(draw, (right, bottom + 5), f"step {span}", 11, colour=_MUTED, anchor="ra")
    x = left + np.arange(len(values)) / span * (right - left)
    for player in range(table.shape[1]):
        y = bottom - (table[:, player] - low) / (high - low) * (bottom - top)
        colour = _VALUES[player % len(_VALUES)]
        points = [(float(a) * _TWICE, float(b) * _TWICE) for a, b in zip(x, y, strict=True)]
        if len(points) > 1:
            draw.line(points, fill=colour, width=2 * _TWICE, joint="curve")
        a, b = points[-1]
        draw.ellipse((a - 7, b - 7, a + 7, b + 7), fill=colour)
    _text(draw, (840, 42), ", ".join(f"{value:.4g}" for value in table[-1]), 13, bold=True, anchor="ra")


def limits(values: np.ndarray) -> tuple[float, float]:
    """Round ends of an axis that holds all values; they move seldom as values are added."""
    low, high = float(min(values.min(), 0.0)), float(max(values.max(), 0.0))
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-6)))
    step = step / 2 if (high - low) / step < 2 else step
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    return low, high if high > low else low + step


def _actions(draw: ImageDraw.ImageDraw, thought: Thought) -> None:
    left, top, right, bottom = _ROWS
    legal = np.flatnonzero(thought.legal)
    count = len(legal)
    order = legal[np.argsort(-thought.policy[legal], kind="stable")[:MAX_ACTIONS]]
    order = np.sort(order if thought.action in order else np.append(order[:-1], thought.action))
    height = min(52.0, (bottom - top - (16 if count > len(order) else 0)) / len(order))
    visits = thought.visits / max(1, thought.visits.sum())
    for i, action in enumerate(order):
        y = top + i * height
        if action == thought.action:
            draw.rectangle(_scaled(left - 6, y, right + 4, y + height - 2), fill=_STRIP)
        middle = y + height / 2 - 1
        _text(draw, (left, middle), str(action), 13, bold=action == thought.action, anchor="lm")
        shares = (None if thought.prior is None else thought.prior[action], visits[action], thought.policy[action])
        thick = min(12.0, (height - 6) / 3)
        for k, ((_, colour), share) in enumerate(zip(_BARS, shares, strict=True)):
            if share is not None:
                a = middle + (k - 1.5) * thick
                draw.rectangle(_scaled(504, a, 504 + 240 * float(share) + 0.5, a + thick - 1), fill=colour)
        # What nobody visited has no q of its own, only what the rule fills in.
        q = f"{thought.q[action]:.4g}" if thought.visits[action] else "–"
        _text(draw, (806, middle), q, 12, anchor="rm")
        _text(draw, (856, middle), str(int(thought.visits[action])), 12, anchor="rm")
    if count > len(order):
        _text(draw, (left, bottom - 12), f"{count - len(order)} more actions, less likely", 11, colour=_MUTED)


def _scaled(*numbers: float) -> tuple[int, ...]:
    return tuple(round(number * _TWICE) for number in numbers)


@functools.lru_cache(maxsize=32)
def _font(size: int, bold: bool, mono: bool) -> Any:
    name = "DejaVuSansMono.ttf" if mono else "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    # Matplotlib brings the font along, so that a film looks the same everywhere.
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size * _TWICE)


def _fitting(text: str, width: float, size: int) -> str:
    """Bold text with its beginning left out where it is wider than `width` pixels."""
    font = _font(size, True, False)
    if font.getlength(text) <= width * _TWICE:
        return text
    while len(text) > 1 and font.getlength("…" + text) > width * _TWICE:
        text = text[1:]
    return "…" + text


def _text(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: int,
    *,
    bold: bool = False,
    mono: bool = False,
    colour: str = _INK,
    anchor: str = "la",
) -> None:
    x, y = _scaled(*at)
    draw.text((x, y), text, font=_font(size, bold, mono), fill=colour, anchor=anchor)
