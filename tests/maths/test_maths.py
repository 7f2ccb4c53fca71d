"""What `muzen.maths` and `muzen.networks` export."""

import inspect

import pytest

import muzen.maths
import muzen.networks

MODULES = [muzen.maths, muzen.networks]


@pytest.mark.parametrize("module", MODULES)
def test_exported_names_are_sorted_there_and_documented(module):
    assert module.__all__ == sorted(module.__all__)
    for name in module.__all__:
        assert inspect.getdoc(getattr(module, name)), name


@pytest.mark.parametrize("module", MODULES)
def test_every_equation_has_one_home(module):
    homes = {getattr(module, name).__module__ for name in module.__all__}
    assert all(home.startswith(module.__name__) for home in homes)
