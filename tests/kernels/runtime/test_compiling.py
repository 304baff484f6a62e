from typing import NamedTuple

import numpy as np
import pytest
from numba import types
from numba.core.errors import TypingError
from processes import run_script

from fastem.kernels.runtime.compiling import kernel, variant


class Circle(NamedTuple):
    radius: float


class Square(NamedTuple):
    side: float


class Triangle(NamedTuple):
    side: float


def area(shape, scale):
    raise NotImplementedError("for kernels only")


@variant(area, of=Circle)
def _area_of_circle(shape, scale):
    return 3.0 * shape.radius**2 * scale


@variant(area, of=(Square, types.Array))
def _area_of_square(shape, scale):
    return shape[0] ** 2 * scale


@kernel
def doubled(shape):
    return area(shape, 2.0)


@pytest.mark.parametrize(
    ("shape", "wanted"), [(Circle(2.0), 24.0), (Square(3.0), 18.0), (np.array([4.0]), 32.0)]
)
def test_the_first_argument_chooses_the_variant(shape, wanted):
    assert doubled(shape) == wanted


@pytest.mark.parametrize("shape", [Triangle(1.0), 1.0])
def test_a_class_without_a_variant(shape):
    with pytest.raises(TypingError, match="area"):
        doubled(shape)


def test_a_numba_of_later_insides_compiles_by_itself(tmp_path):
    script = """
        import sys

        import numba
        import numpy as np

        numba.version_info = numba.version_info._replace(short=(0, 1000))

        from fastem import KMeans

        X = np.array([[0.0], [1.0], [10.0], [12.0]])
        print(KMeans(2, random_state=0).fit(X).inertia_)
        ours = [name for name in sys.modules if name.startswith("fastem.kernels.runtime")]
        print(any("emitting" in name or "compilers" in name for name in ours))
    """
    lines = run_script(script, NUMBA_CACHE_DIR=tmp_path).split()
    assert lines == ["2.5", "False"]
