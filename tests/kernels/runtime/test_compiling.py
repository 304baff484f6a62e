from typing import NamedTuple

import numpy as np
import pytest
from numba import types
from numba.core.errors import TypingError

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
