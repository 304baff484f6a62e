"""Weights of rows that are far from one."""

import math

import numpy as np
import pytest

from fastem.rows import LocalRows, Part
from fastem.rows.weights import RowWeights, rows_near_one, rows_with_room, times_power


def test_weights_near_one_are_taken_as_they_are():
    X, weights = np.zeros((3, 1)), np.array([0.0, 1.5, 1e9])
    taken = RowWeights.of(weights, X)
    assert taken.values is weights
    assert (taken.exponent, taken.total, taken.unit) == (0, 1000000001.5, 1.0)
    far = RowWeights.of([0.0, 1.0, 2.0**40], X)
    np.testing.assert_array_equal(far.values, [0.0, 2.0**-41, 0.5])
    assert (far.exponent, far.unit) == (41, 2.0**-41)
    assert far.log_total == pytest.approx(math.log(1 + 2.0**40))
    assert RowWeights.of(None, X) == (None, 0, 3.0)


def test_room_for_weights_far_below_others():
    near = np.array([0.0, 2.0**-99, 2.0**90])
    assert RowWeights.with_room(near, 3).values is near
    for values in ([1.0, 5e-324, 0.0], [2.0**1000, 1.0, 0.0], [5e-324, 5e-324, 5e-324]):
        given = np.array(values)
        found = RowWeights.with_room(given, 3)
        # The same weights, of which the greatest is as great as products with it allow.
        np.testing.assert_array_equal(np.ldexp(found.values, found.exponent), given)
        assert 2.0**99 <= found.values.max() < 2.0**100
        assert found.total == found.values.sum()
        assert found.unscaled(found.total) == given.sum()
        assert (found.values[given > 0] > 2.0**-1000).all()
    assert RowWeights.with_room(None, 3) == (None, 0, 3.0)


def test_a_part_without_weight_says_nothing_of_the_others():
    X, tiny = np.zeros((2, 1)), np.full(2, 2.0**-1000)
    alone = LocalRows([Part(X, tiny)])
    for parts in (
        [Part(X, np.zeros(2)), Part(X, tiny, 2, 1)],
        [Part(X, tiny), Part(X, np.zeros(2), 2, 1)],
    ):
        rows = LocalRows(parts)
        taken, total, unit = rows_near_one(rows)
        assert (total, unit) == rows_near_one(alone)[1:] == (1.0, 1.0)
        assert sorted(max(part.sample_weight) for part in taken.parts) == [0.0, 0.5]
        assert rows_with_room(rows)[1] == rows_with_room(alone)[1]


def test_a_power_of_two_overflows_only_if_the_product_does():
    assert times_power(2.0**1000, -2000) == 2.0**-1000
    assert times_power(5e-324, 1500) == 2.0 ** (1500 - 1074)
    assert times_power(3.0, 1200) == math.inf
