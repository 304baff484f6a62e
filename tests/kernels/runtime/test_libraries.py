import sys

import numpy as np
import pytest

from fastem.kernels.runtime.compiling import kernel


def test_wrong_arguments_from_python_raise():
    """Though what unpacks them isn't optimised."""
    compiled = kernel(lambda array, pair: array[0] + pair[1])
    array = np.arange(3.0)
    counts = sys.getrefcount(array)
    for _ in range(100):
        assert compiled(array, (1, 2.5)) == 2.5
        with pytest.raises(TypeError):
            compiled(array)
        with pytest.raises(TypeError):
            compiled.overloads[next(iter(compiled.overloads))].entry_point(array, 3)
    assert sys.getrefcount(array) == counts
