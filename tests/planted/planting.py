"""Plant a bug in a copy of the package, and see which claims fail there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from plant import Plant

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src" / "muzen"
MOST_SECONDS = 600
# How a claim ended, beside errors in words.
PASSED, FAILED = "passed", "failed"


def planted(plant: Plant) -> str:
    """The text of the plant's file with the bug in it.

    Raises:
      LookupError: the old text does not stand in it exactly once.
    """
    text = (SOURCE / plant.file).read_text(encoding="utf-8")
    found = text.count(plant.old)
    if found != 1:
        raise LookupError(
            f"{plant.file}: the source moved: {found} places for plant {str(plant)!r}, expected 1; update the plant"
        )
    return text.replace(plant.old, plant.new)


def outcomes(plant: Plant) -> dict[str, str]:
    """How each of the plant's claims ended where its bug is planted."""
    return run(plant.claims, plant.path, {plant.file: planted(plant)})


def groups(plants: Iterable[Plant]) -> dict[tuple[str, str], tuple[str, ...]]:
    """The claims of all plants by (file, path of search), each once."""
    found: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for plant in plants:
        for name in plant.claims:
            found[name.partition("::")[0], plant.path][name] = None
    return {key: tuple(names) for key, names in found.items()}


def run(claims: tuple[str, ...], path: str = "host", changed: dict[str, str] | None = None) -> dict[str, str]:
    """Run claims against a fresh copy of the package.

    Args:
      claims: node ids.
      path: where searches run that name no path, see `Plant.path`.
      changed: text in place of a file's own, by its name below `src/muzen`.

    Returns:
      By claim: `PASSED`; `FAILED` where an assertion of the claim itself did not hold; or what else became of it.
    """
    with tempfile.TemporaryDirectory(prefix="muzen-planted-") as folder:
        copy, report = Path(folder) / "src", Path(folder) / "outcomes.json"
        # Without compiled kernels: Numba looks only at the file of a function, not at the files of those it calls.
        shutil.copytree(SOURCE, copy / "muzen", ignore=shutil.ignore_patterns("__pycache__"))
        for file, text in (changed or {}).items():
            (copy / "muzen" / file).write_text(text, encoding="utf-8")
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(copy), str(Path(__file__).parent)]),
            "NUMBA_CACHE_DIR": str(Path(folder) / "numba"),
            "JAX_ENABLE_COMPILATION_CACHE": "false",
            "MUZEN_PLANTED_REPORT": str(report),
            "MUZEN_PLANTED_PATH": path,
        }
        environment.pop("PYTEST_ADDOPTS", None)
        options = ["-p", "witness", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=--import-mode=importlib"]
        if not any("tests/search/" in name for name in claims):
            # Kernels of replay and returns as plain Python: the same statements, without seconds of compiling.
            environment["NUMBA_DISABLE_JIT"] = "1"
            options += ["-W", "ignore:overflow encountered:RuntimeWarning"]
        try:
            ended = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", *options, *claims],
                cwd=REPOSITORY,
                env=environment,
                capture_output=True,
                text=True,
                timeout=MOST_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return dict.fromkeys(claims, f"still ran after {MOST_SECONDS} s")
        seen = json.loads(report.read_text()) if report.exists() else {}
        said = " | ".join((ended.stdout + ended.stderr).strip().splitlines()[-3:])
        return {name: seen.get(name, f"did not run: {said}") for name in claims}
