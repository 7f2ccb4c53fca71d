"""`pytest -m planted`: every known bug is planted in a copy of the package, and the claims about it must fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import Queue

import pytest
from plant import Plant
from planting import REPOSITORY, Bed, groups, planted
from plants import ABSENT, PLANTS, TRAPS
from witness import FAILED, PASSED

EXAMPLE = next(plant for plant in PLANTS if plant.file == "maths/priorities.py")


def marks(plant: Plant) -> tuple[pytest.MarkDecorator, ...]:
    """The first plant of each trap stands for the others where time is short."""
    first = next(other for other in PLANTS if other.trap == plant.trap)
    return (pytest.mark.representative,) if plant is first else ()


def test_every_trap_is_planted_or_has_a_reason():
    assert sorted(TRAPS) == list(range(1, 42))
    assert {plant.trap for plant in PLANTS} | set(ABSENT) == set(TRAPS)


def test_every_plant_fits_the_source_and_changes_it():
    for plant in PLANTS:
        assert planted(plant).count(plant.new) >= 1
        assert plant.old != plant.new


def test_a_plant_that_fits_nowhere_or_twice_says_that_the_source_moved():
    for old in ("no such text", "import"):
        with pytest.raises(LookupError, match=r"the source moved: .*update the plant"):
            planted(replace(EXAMPLE, old=old))


def test_every_claim_is_a_test():
    for plant in PLANTS:
        for name in plant.claims:
            file, _, test = name.partition("::")
            assert f"def {test.partition('[')[0]}(" in (REPOSITORY / file).read_text(encoding="utf-8"), name


def test_no_two_plants_are_the_same():
    assert len({str(plant) for plant in PLANTS}) == len(PLANTS)
    assert len({(plant.file, plant.old, plant.new) for plant in PLANTS}) == len(PLANTS)


class Work:
    """The processes of all tests that were asked for, as many at a time as there are cores, begun together."""

    def __init__(self, plants: list, folder: Path):
        count = min(os.cpu_count() or 1, 8)
        self.beds: Queue[Bed] = Queue()
        for i in range(count):
            self.beds.put(Bed(folder / str(i)))
        self.pool = ThreadPoolExecutor(count)
        # First what compiles most for the others.
        self.groups = {
            key: self.pool.submit(self.on_a_bed, lambda bed, key=key, claims=claims: bed.run(claims, key[1]))
            for key, claims in groups(plants).items()
        }
        self.plants = {
            str(plant): self.pool.submit(self.on_a_bed, lambda bed, plant=plant: bed.outcomes(plant))
            for plant in plants
        }

    def on_a_bed(self, job: Callable[[Bed], dict[str, str]]) -> dict[str, str]:
        """Do it on whichever bed is free, or wait for one."""
        bed = self.beds.get()
        try:
            return job(bed)
        finally:
            self.beds.put(bed)


@pytest.fixture(scope="module")
def work(request, tmp_path_factory) -> Iterator[Work]:
    # All tests of a file run in one worker of xdist, which is the one that waits here.
    tests = (item for item in request.session.items if item.path == request.path)
    asked = (getattr(test, "callspec", None) for test in tests)
    plants = [spec.params["plant"] for spec in asked if spec is not None and "plant" in spec.params]
    began = Work(plants, tmp_path_factory.mktemp("beds"))
    yield began
    began.pool.shutdown(cancel_futures=True)


@pytest.mark.planted
@pytest.mark.parametrize("plant", [pytest.param(plant, marks=marks(plant)) for plant in PLANTS], ids=str)
def test_the_claims_catch(plant, work, record_property):
    if any('importorskip("pyspiel")' in (REPOSITORY / name.partition("::")[0]).read_text() for name in plant.claims):
        pytest.importorskip("pyspiel")
    ended = work.plants[str(plant)].result()
    caught = set(ended.values()) == {FAILED}
    record_property("plant", [plant.trap, plant.face, list(plant.claims), caught])
    assert caught, ended


@pytest.mark.planted
@pytest.mark.representative
def test_every_claim_passes_where_nothing_is_planted(work, record_property):
    record_property("absent", sorted(ABSENT.items()))
    ended = {name: how for future in work.groups.values() for name, how in future.result().items()}
    assert {name: how for name, how in ended.items() if how != PASSED} == {}


@pytest.mark.planted
@pytest.mark.representative
@pytest.mark.parametrize(
    ("new", "claims", "what"),
    [
        (f"{EXAMPLE.old}  # no bug", EXAMPLE.claims, "passed"),
        ("weight = ", EXAMPLE.claims, "did not run"),
        ("raise ImportError", EXAMPLE.claims, "ImportError in call"),
        (EXAMPLE.new, ("tests/maths/test_priorities.py::test_that_is_not_there",), "did not run"),
    ],
    ids=["a plant without a bug", "a plant that is no Python", "a plant that raises", "a claim that is not there"],
)
def test_nothing_but_a_failed_assertion_counts_as_caught(new, claims, what, work):
    ended = work.on_a_bed(lambda bed: bed.outcomes(replace(EXAMPLE, new=new, claims=claims)))
    assert all(how.startswith(what) for how in ended.values()), ended
