"""The run folder: everything that a run knows, in open files that outlive it."""

from muzen.runs.checkpoint import Checkpoint, Saved, Weights
from muzen.runs.folder import RunFolder, environment_facts, read_json
from muzen.runs.games import (
    EVALUATION_GAMES,
    GameRecord,
    append_games,
    games_folder,
    new_games_file,
    read_games,
    write_games,
)
from muzen.runs.metrics import Metrics, read_metrics

__all__ = [
    "EVALUATION_GAMES",
    "Checkpoint",
    "GameRecord",
    "Metrics",
    "RunFolder",
    "Saved",
    "Weights",
    "append_games",
    "environment_facts",
    "games_folder",
    "new_games_file",
    "read_games",
    "read_json",
    "read_metrics",
    "write_games",
]
