"""The README and the page on run folders are true: their Python runs, names in tables exist, links lead somewhere."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ("README.md", "docs/run_folder.md")
BLOCKS = [
    pytest.param(code, id=f"{page}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL))
]

# The same code with budgets that a test can afford: little to play, little to compile.
SMALL = {
    "env_steps": 160,
    "evaluate__episodes": 2,
    "act__environments": 2,
    "act__random_steps": 100,
    "learn__samples_per_step": 8.0,
    "learn__batch_size": 16,
    "learn__unroll_steps": 2,
    "reanalyse__positions_per_step": 0.0,
    "search__simulations": 4,
}
SMALLER = [
    (r"env_steps=[\d_]+", ", ".join(f"{name}={value}" for name, value in SMALL.items())),
    (r"episodes=100", "episodes=2"),
]


@pytest.mark.slow
@pytest.mark.parametrize("code", BLOCKS)
def test_python_blocks_run(code, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    for wanted, instead in SMALLER:
        code = re.sub(wanted, instead, code)
    exec(compile(code, request.node.name, "exec"), {"__name__": "readme"})


def test_every_name_in_the_equation_table_exists():
    names = re.findall(r"`(muzen\.maths\.\w+\.\w+|muzen\.search\.\w+\.\w+|muzen\.networks\.\w+\.\w+)`", TEXT)
    assert len(names) > 20
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def test_every_local_link_leads_to_a_file():
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing


def test_every_link_and_measurement_of_the_performance_page_is_there():
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for link, _, part in (link.partition("#") for link in re.findall(r"\]\(([^)]+)\)", page)):
        target = ROOT / "docs" / (link or "performance.md")
        assert target.exists(), link
        text = target.read_text(encoding="utf-8") if part else ""  # without one it may be a picture
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert not part or part in {heading.lower().replace(" ", "-") for heading in headings}, f"{link}#{part}"
    measurements = re.findall(r"`python (benchmarks/\w+\.py)", page)
    assert len(set(measurements)) == 5 and all((ROOT / file).exists() for file in measurements)


def test_the_commands_of_the_command_line_are_all_there():
    from muzen.cli import COMMANDS

    assert re.findall(r"^\| `muzen (\w+) ", TEXT, re.MULTILINE) == list(COMMANDS)
