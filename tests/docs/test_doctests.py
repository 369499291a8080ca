"""The example in each room's docstring runs and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import avssl

PACKAGES = [avssl.__name__, *(f"avssl.{room.name}" for room in pkgutil.iter_modules(avssl.__path__) if room.ispkg)]


@pytest.mark.parametrize("name", PACKAGES)
def test_room_example(name):
    module = importlib.import_module(name)
    tests = doctest.DocTestParser().get_doctest(module.__doc__ or "", {"__name__": name}, name, module.__file__, 0)
    assert tests.examples
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(tests)
    assert result.failed == 0
