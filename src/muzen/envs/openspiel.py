"""One game of OpenSpiel, as the rollout drives it: any sequential game of perfect information."""

from __future__ import annotations

import difflib
import functools
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from muzen.errors import EnvError, UnknownEnvError, UnsupportedSpaceError
from muzen.types import EnvSpec, Symmetry, TimeStep

PREFIX = "openspiel:"
# Random play that tells whether players move strictly in turn: OpenSpiel declares nothing of it.
_PROBE_GAMES, _PROBE_PLIES = 16, 4000
# Chance moves between two decisions after which a game is taken to be stuck.
_MOST_CHANCE_MOVES = 10_000


class OpenSpielEnvironment:
    """Adapts an OpenSpiel game: observations of the player to move, rewards per player, chance from the episode's seed.

    The observation is OpenSpiel's tensor as the player to move sees it; where there are several players, P entries
    or planes are put after it that say who moves, for most tensors don't tell. Where the tensor has a plane of stones
    for each of two players (`_STONES`), the player to move finds its own in the first player's plane, as AlphaZero does
    (arXiv:1712.01815, table S1): one thing is then to be learned, not the same for either colour. A few tensors are
    written in another way (`_REWRITTEN`).

    A step's reward is what it and the chance that followed added to each player's return. A finished game shows its
    last state as the next player in turn would see it.

    Args:
      name: `openspiel:GAME` or `openspiel:GAME(parameter=value,...)`.

    Raises:
      UnknownEnvError: there is no such game; the message lists the nearest.
      UnsupportedSpaceError: the game is of a kind that cannot be learned yet.
      EnvError: OpenSpiel is not installed, or a parameter is wrong.
    """

    render_mode = "ansi"

    def __init__(self, name: str):
        self.name = name
        self.game = load_game(name)
        self.spec = _spec(name)
        self.symmetries = _symmetries(name)
        self._all_legal = np.ones(self.spec.num_actions, bool)
        self._all_legal.setflags(write=False)
        self._state: Any = None
        self._observer = _observer(self.game)
        self._rewrite = _rewriting(name, self.game)
        absolute = not self.game.get_parameters().get("egocentric_obs_tensor", False)
        planes = len(self.spec.observation_shape) == 3
        self._stones = _STONES.get(_short_name(name)) if planes and absolute else None
        self._random = np.random.default_rng(0)
        self._returns = np.zeros(self.spec.players)
        self._to_play = 0

    @property
    def state(self) -> Any:
        """The `pyspiel.State` of the game that is going on, to look at or to clone; None where none is."""
        return self._state

    def reset(self, seed: int) -> TimeStep:
        """Starts an episode; all its chance follows from `seed`."""
        self._random = np.random.default_rng(seed)
        self._state = self.game.new_initial_state()
        self._pass_chance()
        self._returns = np.array(self._state.returns(), float)
        self._to_play = self._state.current_player() if not self._state.is_terminal() else 0
        return self._now(np.zeros(self.spec.players, np.float32))

    def step(self, action: int) -> TimeStep:
        """Plays `action` for the player to move, and whatever chance follows.

        Raises:
          EnvError: no game is going on, or the action is not legal.
        """
        if self._state is None or self._state.is_terminal():
            raise EnvError(f"{self.name}: step() without an episode; call reset(seed) first and after every end")
        if not 0 <= action < self.spec.num_actions or action not in self._state.legal_actions():
            raise EnvError(f"{self.name}: action {action} is not legal here; legal: {self._state.legal_actions()}")
        self._state = self._state.clone()  # the last step's belongs to whoever searches it
        self._state.apply_action(int(action))
        self._pass_chance()
        self._to_play = self.mover(self._state, self._to_play)
        returns = np.array(self._state.returns(), float)
        reward = (returns - self._returns).astype(np.float32)
        self._returns = returns
        return self._now(reward)

    def render(self) -> str:
        """The state as OpenSpiel writes it."""
        return str(self._state)

    def close(self) -> None:
        """Ends the game; harmless when called again."""
        self._state = None

    def _now(self, reward: np.ndarray) -> TimeStep:
        over = self._state.is_terminal()
        legal = self._all_legal
        if not over:
            legal = np.zeros(self.spec.num_actions, bool)
            legal[self._state.legal_actions()] = True
        return TimeStep(
            self.observe(self._state, self._to_play), reward, over, False, self._to_play, legal, self._state
        )

    def mover(self, state: Any, before: int) -> int:
        """Who moves in a state, or would, after player `before`, if the game were not over."""
        return (before + 1) % self.spec.players if state.is_terminal() else state.current_player()

    def observe(self, state: Any, player: int) -> np.ndarray:
        """The observation of a state of this game by the player who moves there."""
        seen = np.zeros(self.spec.observation_shape, np.float32)
        flat = seen.reshape(-1)
        if self._observer is None:
            tensor = np.asarray(state.observation_tensor(player))
        else:
            self._observer.set_from(state, player)
            tensor = self._observer.tensor
        if self._rewrite is not None:
            tensor = self._rewrite(tensor.reshape(self.game.observation_tensor_shape())).reshape(-1)
        flat[: tensor.size] = tensor
        if self._stones is not None and player == 1:
            first, second = self._stones
            seen[[first, second]] = seen[[second, first]]
        if self.spec.players > 1:
            # Who moves: whole planes before a board, one number of a flat vector.
            size = flat.size // len(seen) if seen.ndim == 3 else 1
            start = flat.size - size * (self.spec.players - player)
            flat[start : start + size] = 1
        return seen

    def _pass_chance(self) -> None:
        for _ in range(_MOST_CHANCE_MOVES):
            if not self._state.is_chance_node():
                return
            play_chance(self._state, self._random)
        raise EnvError(f"{self.name}: {_MOST_CHANCE_MOVES:,} chance moves in a row and no decision; the game is stuck")


def load_game(name: str) -> Any:
    """The `pyspiel.Game` of `openspiel:GAME(parameters)`. Raises as `OpenSpielEnvironment` does."""
    try:
        import pyspiel
    except ModuleNotFoundError as error:
        raise EnvError(f'{name}: OpenSpiel is not installed; run: pip install "muzen[games]"') from error
    text, short = name.removeprefix(PREFIX), _short_name(name)
    kinds = {kind.short_name: kind for kind in pyspiel.registered_games()}
    if short not in kinds:
        nearest = difflib.get_close_matches(short.lower().replace("-", "_"), kinds, n=3)
        near = " or ".join(PREFIX + kind for kind in nearest)
        hint = f"did you mean {near}?" if near else f"it has others, {_examples()}"
        raise UnknownEnvError(f"{name}: OpenSpiel has no game {short!r}; {hint}")
    specification = kinds[short].parameter_specification
    takes = ", ".join(f"{key} (default {_short(value)})" for key, value in sorted(specification.items())) or "none"
    for key in _parameters(text):
        if key not in specification:
            near = difflib.get_close_matches(key, specification, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise EnvError(f"{name}: {short} has no parameter {key!r}; {hint}its parameters: {takes}")
    if not kinds[short].default_loadable and "(" not in text:
        raise EnvError(f"{name}: {short} cannot be made without parameters; its parameters: {takes}")
    try:
        game = pyspiel.load_game(text)
        _refuse_unlearnable(name, game)
        first = game.new_initial_state()
        if first.is_terminal() or not first.legal_actions():
            raise UnsupportedSpaceError(f"{name}: is over before its first move; choose other parameters: {takes}")
    except (pyspiel.SpielError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise EnvError(f"{name}: OpenSpiel refuses it: {reason}; its parameters: {takes}") from error
    return game


def game_named(name: str) -> str:
    """'openspiel:tic_tac_toe' of 'tic-tac-toe', where OpenSpiel is there and has a game of nearly that name; or ''."""
    try:
        import pyspiel
    except ModuleNotFoundError:
        return ""
    kinds = [kind.short_name for kind in pyspiel.registered_games()]
    near = difflib.get_close_matches(_short_name(name).lower().replace("-", "_"), kinds, n=1, cutoff=0.8)
    return PREFIX + near[0] if near else ""


def _short_name(name: str) -> str:
    """'tic_tac_toe' of 'openspiel:tic_tac_toe(...)'."""
    return name.removeprefix(PREFIX).partition("(")[0].strip()


def _refuse_unlearnable(name: str, game: Any) -> None:
    """Raises `UnsupportedSpaceError` with the reason and the way out."""
    import pyspiel

    kind = game.get_type()
    reason = ""
    if kind.dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS:
        reason = "its players move at the same time"
    elif kind.dynamics != pyspiel.GameType.Dynamics.SEQUENTIAL:
        reason = "it is a mean-field game"
    elif kind.information != pyspiel.GameType.Information.PERFECT_INFORMATION:
        reason = "something is hidden from a player (imperfect information), and MuZero plans as if all were seen"
    elif kind.chance_mode == pyspiel.GameType.ChanceMode.SAMPLED_STOCHASTIC:
        reason = "its chance comes from a generator inside the game, so that no episode could be repeated by its seed"
    elif not kind.provides_observation_tensor:
        reason = "OpenSpiel gives no observation tensor for it"
    elif min(game.observation_tensor_shape(), default=0) < 1 or game.num_distinct_actions() < 1:
        reason = f"its observations have shape {game.observation_tensor_shape()}; choose other parameters"
    if reason:
        raise UnsupportedSpaceError(
            f"{name}: cannot be learned yet: {reason}. Learnable are sequential games of perfect information, "
            f"{_examples(' or')}"
        )


def _examples(joined: str = " or") -> str:
    games = ("tic_tac_toe", "connect_four", "pig(players=3)")
    return "such as " + ", ".join(PREFIX + game for game in games[:-1]) + f"{joined} {PREFIX}{games[-1]}"


def _parameters(text: str) -> list[str]:
    """Names of the parameters of 'game(a=1,b=other(c=2))' that are the game's own: a and b."""
    inner = text.partition("(")[2]
    previous = None
    while inner != previous:  # innermost brackets first, until only the game's own are left
        previous, inner = inner, re.sub(r"\([^()]*\)", "", inner)
    return [part.partition("=")[0].strip() for part in inner.rstrip(") ").split(",") if "=" in part]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 30 else f"{text[:27]}..."


def _square(cells: np.ndarray) -> list[np.ndarray]:
    """The turns of a board: eight of a square, four of a longer one."""
    quarter = 1 if cells.shape[0] == cells.shape[1] else 2
    turned = [np.rot90(cells, k) for k in range(0, 4, quarter)]
    return turned + [np.fliplr(board) for board in turned]


# Planes of the first and of the second player's stones, where OpenSpiel's tensor is the same for both players.
_STONES = {"tic_tac_toe": (2, 1), "mnk": (2, 1), "connect_four": (0, 1), "gomoku": (0, 1)}


def _tiles(board: np.ndarray) -> np.ndarray:
    """[H, W] powers of two, or 0 -> [18, H, W], a plane for each: how tiles merge does not depend on size."""
    return (np.log2(np.maximum(board, 1)) == np.arange(18)[:, None, None]).astype(np.float32)


def _points(scores: np.ndarray) -> np.ndarray:
    """[N, S + 1] rows with a 1 where the score is -> [N] shares of S: a point more or less matters little."""
    return scores.argmax(1) / (scores.shape[1] - 1)


def _pits(tensor: np.ndarray) -> np.ndarray:
    """[14] seeds, after which newer versions of OpenSpiel put who moves and the move's number -> [14]."""
    return tensor[:14]


def _grid(planes: np.ndarray) -> np.ndarray:
    """[3, S * S] cells in a row -> [3, S, S]."""
    side = math.isqrt(planes.shape[1])
    return planes.reshape(-1, side, side)


# What is shown in place of a tensor that a network would learn from slowly, or that no symmetry could turn.
_REWRITTEN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "2048": _tiles,
    "pig": _points,
    "mancala": _pits,
    "gomoku": _grid,
}


def _rewriting(name: str, game: Any) -> Callable[[np.ndarray], np.ndarray] | None:
    """What rewrites the tensor of this game, or None."""
    flat = game.get_parameters().get("dims", 2) == 2  # Gomoku's board may have more dimensions
    return _REWRITTEN.get(_short_name(name)) if flat else None


# Which turns of the board leave a game as it is; of Othello's first position only these four do.
_TURNS: dict[str, Callable[[np.ndarray], list[np.ndarray]]] = {
    "tic_tac_toe": _square,
    "mnk": _square,
    "gomoku": _square,
    "go": _square,
    "othello": lambda cells: [cells, np.rot90(cells, 2), cells.T, np.rot90(cells, 2).T],
    "connect_four": lambda cells: [cells, np.fliplr(cells)],
    "2048": _square,
}
# Where actions are directions in place of cells or columns: what each adds to row and column.
_DIRECTIONS = {"2048": ((-1, 0), (0, 1), (1, 0), (0, -1))}


@functools.lru_cache(maxsize=64)
def _symmetries(name: str) -> tuple[Symmetry, ...]:
    """The symmetries that a game declares, the identity first; none where it declares none."""
    spec, short = _spec(name), _short_name(name)
    if short == "mancala":
        return _sides(spec)
    if short not in _TURNS or len(spec.observation_shape) != 3:
        return ()
    planes, height, width = spec.observation_shape
    cells = np.arange(height * width).reshape(height, width)
    found = []
    for turned in _TURNS[short](cells):
        observation = (np.arange(planes)[:, None] * cells.size + turned.reshape(-1)).reshape(-1)
        if short in _DIRECTIONS:
            action = _turned_directions(_DIRECTIONS[short], turned)
        elif spec.num_actions == width:
            action = np.argsort(turned[0])
        else:
            # What was in cell turned[i] is in cell i; a pass stays a pass.
            action = np.append(np.argsort(turned.reshape(-1)), np.arange(cells.size, spec.num_actions))
        found.append(Symmetry(observation, action, np.arange(spec.players)))
    return tuple(found)


def _sides(spec: EnvSpec) -> tuple[Symmetry, ...]:
    """Mancala's board as it is, and seen from its other side: each half then belongs to the other player."""
    pits, players = np.arange(spec.num_actions), np.arange(spec.players)
    across = np.roll(pits, pits.size // 2)
    same = Symmetry(np.append(pits, pits.size + players), pits, players)
    return same, Symmetry(np.append(across, pits.size + players[::-1]), across, players[::-1])


def _turned_directions(directions: tuple[tuple[int, int], ...], turned: np.ndarray) -> np.ndarray:
    """[A] which direction each one becomes where what was in cell turned[i] is in cell i."""
    place = {int(cell): where for where, cell in np.ndenumerate(turned)}
    width, new = turned.shape[1], []
    for down, right in directions:
        (row, column), (next_row, next_column) = place[width + 1], place[(1 + down) * width + 1 + right]
        new.append(directions.index((next_row - row, next_column - column)))
    return np.array(new)


@functools.lru_cache(maxsize=64)
def _spec(name: str) -> EnvSpec:
    """What Muzen needs to know of a game; made once for all the environments of a run."""
    import pyspiel

    game = load_game(name)
    players = game.num_players()
    shape = tuple(game.observation_tensor_shape())
    if (rewrite := _rewriting(name, game)) is not None:
        shape = rewrite(np.zeros(shape, np.float32)).shape
    if players > 1:
        # Who moves: as planes before a board, otherwise as numbers after a flat vector.
        shape = (shape[0] + players, *shape[1:]) if len(shape) == 3 else (int(np.prod(shape)) + players,)
    utilities = (game.min_utility(), game.max_utility())
    known = players > 1 and all(map(np.isfinite, utilities)) and max(map(abs, utilities)) > 0
    return EnvSpec(
        id=name,
        observation_shape=shape,
        observation_dtype="float32",
        num_actions=game.num_distinct_actions(),
        players=players,
        max_episode_steps=game.max_game_length(),
        always_legal=False,
        zero_sum=game.get_type().utility == pyspiel.GameType.Utility.ZERO_SUM,
        alternating=players == 1 or _takes_turns(game),
        chance=bool(game.max_chance_outcomes()),
        largest_return=float(max(map(abs, utilities))) if known else None,
        directions=_short_name(name) in _DIRECTIONS,
    )


def _observer(game: Any) -> Any:
    """What writes a state's observation tensor into memory of its own; None where the game has only the tensor."""
    import pyspiel
    from open_spiel.python.observation import make_observation

    try:
        return make_observation(game)
    except (pyspiel.SpielError, RuntimeError):
        return None


def play_chance(state: Any, random: np.random.Generator) -> None:
    """One move of chance, by its probabilities."""
    outcomes, probabilities = zip(*state.chance_outcomes(), strict=True)
    place = np.searchsorted(np.cumsum(probabilities), random.random() * sum(probabilities), side="right")
    state.apply_action(outcomes[min(int(place), len(outcomes) - 1)])


def _takes_turns(game: Any) -> bool:
    """Whether in random play every player was followed by the next one."""
    random = np.random.default_rng(0)
    plies = 0
    for _ in range(_PROBE_GAMES):
        state, before = game.new_initial_state(), None
        while not state.is_terminal():
            if state.is_chance_node():
                play_chance(state, random)
                continue
            player = state.current_player()
            if before is not None and player != (before + 1) % game.num_players():
                return False
            if plies >= _PROBE_PLIES:
                return True
            state.apply_action(int(random.choice(state.legal_actions())))
            before, plies = player, plies + 1
    return True
