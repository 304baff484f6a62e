from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
from reference import squared_distances

from fastem.kernels.distances.sparse import (
    distance_to_one,
    nearest_to_row,
    pack_sparse,
    sparse_distances,
    sparse_rows,
)
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.vectors.twofold import add_product, add_value


@kernel
def nearest(rows, packed, labels):
    sums, distances = np.empty((2, len(packed.high))), np.empty(len(packed.high))
    for row in range(len(labels)):
        labels[row] = nearest_to_row(rows, row, packed, sums, distances)


@kernel
def own_distances(rows, points, norms, labels, distances):
    for row in range(len(labels)):
        distances[row] = distance_to_one(rows, row, points, norms, labels[row])


@kernel
def dot(a, b, start):
    high, low = add_value(0.0, 0.0, start)
    for i in range(len(a)):
        high, low = add_product(high, low, a[i], b[i])
    return high, low


def scattered(rng, shape, offset, share):
    """Rows near points near the offset, with zeros in between."""
    stored = rng.random(shape) < share
    return np.where(stored, offset + rng.normal(size=shape), 0.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1.0, 1e4, 1e8])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.9, 1.0])
def test_distances_by_direct_differences(dtype, offset, share):
    rng = np.random.default_rng(0)
    X = scattered(rng, (300, 17), offset, share).astype(dtype)
    points = np.concatenate([X[:5], X[5:9] + rng.normal(size=(4, 17)), X[:1]]).astype(float)
    A = sp.csr_array(X)
    expected = squared_distances(X.astype(float), points)
    found = sparse_distances(A, points)
    assert found.dtype == dtype
    tolerance = 1e-10 if dtype == np.float64 else 1e-6
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=1e-300)
    rows, packed = sparse_rows(A), pack_sparse(points)
    labels = np.empty(len(X), np.int32)
    nearest(rows, packed, labels)
    np.testing.assert_array_equal(labels, expected.argmin(axis=1))
    own = np.empty(len(X))
    own_distances(rows, points, np.array([packed.high, packed.low]), labels, own)
    np.testing.assert_allclose(own, expected.min(axis=1), rtol=1e-10, atol=1e-300)


def test_a_far_point_does_not_blur_the_near_ones():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 6))
    points = np.concatenate([X[:3], [np.full(6, 1e12)]])
    labels = np.empty(len(X), np.int32)
    nearest(sparse_rows(sp.csr_array(X)), pack_sparse(points), labels)
    np.testing.assert_array_equal(labels, squared_distances(X, points).argmin(axis=1))


@pytest.mark.parametrize("scale", [1.0, 1e8, 1e-100])
def test_twofold_precision(scale):
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 40)) * scale
    a, b = np.append(a, a), np.append(b, -b) + np.append(np.zeros(40), rng.normal(size=40) * 1e-12)
    high, low = dot(a, b, 3.0)
    exact = Fraction(3) + sum(Fraction(x) * Fraction(y) for x, y in zip(a, b, strict=True))
    size = 3 + float(np.abs(a * b).sum())
    assert abs(Fraction(high) + Fraction(low) - exact) <= 1e-28 * size
