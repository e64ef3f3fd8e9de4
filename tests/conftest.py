"""Imports pixelvae before any test imports Theano, which it prepares."""

import pytest

import pixelvae  # noqa: F401

LONG = {"whole", "gpu_compile", "gpu_run"}


def pytest_collection_modifyitems(items):
    """Tests that run only when asked may take as long as they need."""
    for item in items:
        if LONG.intersection(mark.name for mark in item.iter_markers()):
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture(scope="module", name="fast_compile")
def fast_compile_of_a_module():
    """:func:`compiled.fast_compile` for all tests of a module."""
    from compiled import fast_compile

    with fast_compile():
        yield


@pytest.fixture(scope="session")
def python_with_torch() -> str:
    """A Python that has PyTorch; without one, its tests are skipped with the reason."""
    from benchmarks.harness import torch_python
    from pixelvae.machine.errors import UserError

    try:
        return torch_python()
    except UserError as error:
        pytest.skip(str(error))
