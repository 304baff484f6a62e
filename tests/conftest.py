"""What holds for all tests."""

import os

import pytest

# Benchmarks, once a test imports them, let OpenBLAS choose its code by removing these.
_BLAS = {
    name: os.environ[name]
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    if name in os.environ
}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Have processes that a test starts take the code of OpenBLAS that this one has loaded.

    With another, ranks' parameters weren't those of the same parts here to the last bit.
    """
    os.environ.update(_BLAS)
