"""The benchmark against other systems: how far each has to go, and that hours of it are not lost."""

from __future__ import annotations

import json

import pytest
from benchmark_modules import benchmark

peers = benchmark("peers")
ABOUT = {"processor": "one", "load at the start": 0.1}


def measuring(monkeypatch, passes):
    """Stands for training: `passes` says the budget that a system passes with, and every run that was made is told."""
    made = []

    def run_once(system, steps, seed, limit_s):
        made.append((system, steps, seed))
        return {
            "seconds": steps / 100 + seed,
            "env_steps": steps + 1,
            "return": 500.0 if steps >= passes[system] else 9.0,
        }

    monkeypatch.setattr(peers, "run_once", run_once)
    return made


def found(notes):
    systems = ["Muzen", "SB3 PPO"]
    peers.climb(notes, systems, [10, 20, 50], [0, 1], 900.0)
    times = peers.in_turn(notes, systems, [0, 1], 900.0)
    return peers.results(notes.parts["climb"], systems, [0, 1], times)


def test_a_system_climbs_until_every_seed_passes_and_times_are_compared_in_turn(monkeypatch):
    made = measuring(monkeypatch, {"Muzen": 20, "SB3 PPO": 50})
    first, second = found(peers.Notes(None, ABOUT))
    assert (first["budget"], second["budget"]) == (20, 50)
    assert second["env_steps, times"] == 51 / 21
    assert second["seconds, times"]["median"] == pytest.approx((0.5 / 0.2 + 1.5 / 1.2) / 2)
    assert made[:3] == [("Muzen", 10, 0), ("SB3 PPO", 10, 0), ("Muzen", 20, 0)]  # one seed that fails is enough
    assert made[-4:] == [("Muzen", 20, 0), ("SB3 PPO", 50, 0), ("Muzen", 20, 1), ("SB3 PPO", 50, 1)]


def test_a_measurement_goes_on_after_what_its_file_holds(tmp_path, monkeypatch):
    measuring(monkeypatch, {"Muzen": 20, "SB3 PPO": 50})
    whole = found(peers.Notes(None, ABOUT))
    made = measuring(monkeypatch, {"Muzen": 20, "SB3 PPO": 50})
    once = peers.run_once

    def dies(*which):
        if len(made) == 5:
            raise KeyboardInterrupt
        return once(*which)

    monkeypatch.setattr(peers, "run_once", dies)
    with pytest.raises(KeyboardInterrupt):
        found(peers.Notes(tmp_path / "peers.json", ABOUT))
    monkeypatch.setattr(peers, "run_once", once)
    assert found(peers.Notes(tmp_path / "peers.json", ABOUT | {"load at the start": 3.0})) == whole
    assert len(made) == len({*made}) + 4  # what is in turn is measured once more than in the climb, nothing else twice
    assert json.loads((tmp_path / "peers.json").read_text())["goal"] == 475.0
    with pytest.raises(SystemExit, match="another machine"):
        peers.Notes(tmp_path / "peers.json", ABOUT | {"processor": "another"})
