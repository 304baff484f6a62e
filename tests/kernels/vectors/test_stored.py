import numpy as np
import pytest
from guards import Guarded

from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.vectors.machine import LANES, VECTOR_BYTES, WIDENS_HALVES
from fastem.kernels.vectors.stored import (
    WIDTHS,
    piece_widths,
    put,
    put_square,
    row_products,
    transpose,
)
from fastem.kernels.vectors.vector import load


@kernel
def products(data, indices, places, indptr, factor, table, widths, starts, totals):
    lanes = VECTOR_BYTES // totals.itemsize
    n_features = len(table) // len(starts)
    for row in range(len(indptr) - 1):
        column = at = 0
        for piece in range(len(widths)):
            width = widths[piece]
            row_products(
                data, indices, places, indptr[row], indptr[row + 1], factor, table, at,
                width, starts, totals[row], column,
            )  # fmt: skip
            column += width * lanes
            at += width * lanes * n_features


@pytest.mark.parametrize("table_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("widths", [*([width] for width in WIDTHS), [*WIDTHS, 1, 4]])
def test_products_of_rows_of_any_length(widths, dtype, table_dtype):
    rng = np.random.default_rng(0)
    lanes = VECTOR_BYTES // np.dtype(table_dtype).itemsize
    n_features, n_columns = 23, lanes * sum(widths)
    lengths = np.array([0, 1, 2, 3, 4, 5, 7, 8, 13, 23])
    indices = np.concatenate([rng.permutation(n_features)[:n] for n in lengths]).astype(np.int32)
    data = rng.normal(size=len(indices)).astype(dtype)
    indptr = np.concatenate([[0], lengths.cumsum()])
    table = rng.normal(size=(n_features, n_columns)).astype(table_dtype)
    starts = rng.normal(size=n_columns).astype(table_dtype)
    pieces = np.split(table, np.cumsum(widths)[:-1] * lanes, axis=1)
    guards = [
        Guarded(array)
        for array in (
            data,
            np.concatenate([piece.ravel() for piece in pieces]),
            starts,
            np.zeros((len(lengths), n_columns), table_dtype),
        )
    ]
    values, packed, begin, totals = (guarded.array for guarded in guards)
    products(values, indices, None, indptr, -0.5, packed, np.array(widths), begin, totals)
    dense = np.zeros((len(lengths), n_features))
    for row in range(len(lengths)):
        stored = slice(indptr[row], indptr[row + 1])
        dense[row, indices[stored]] = data[stored]
    expected = starts - 0.5 * dense @ table.astype(float)
    tolerance = 1e-13 if table_dtype == np.float64 else 1e-5
    np.testing.assert_allclose(totals, expected, rtol=tolerance, atol=tolerance)
    assert all(guarded.intact() for guarded in guards)
    # The same lines of the table under other numbers.
    moved = rng.permutation(n_features).astype(np.int32)
    packed[:] = np.concatenate([piece[moved].ravel() for piece in pieces])
    before, totals[:] = totals.copy(), 0
    places = moved.argsort().astype(np.int32)
    products(values, indices, places, indptr, -0.5, packed, np.array(widths), begin, totals)
    np.testing.assert_array_equal(totals, before)


@pytest.mark.parametrize("itemsize", [4, 8])
def test_pieces_cover_all_columns_and_little_more(itemsize):
    lanes = VECTOR_BYTES // itemsize
    for n_columns in range(1, 70 * lanes):
        widths = piece_widths(n_columns, itemsize)
        assert set(widths.tolist()) <= set(WIDTHS)
        columns = lanes * int(widths.sum())
        assert n_columns <= columns
        # Less than the smallest piece twice as wide as the last would take.
        assert columns - n_columns < max(4 * lanes, 0.25 * n_columns)


def as_stored(halves):
    """As a table has them; elsewhere no kernel has such tables."""
    return halves.view(np.uint16) if WIDENS_HALVES else halves.astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("widths", [[1], [4, 2]])
def test_products_with_halves(widths, dtype):
    rng = np.random.default_rng(0)
    n_features, n_columns = 23, LANES * sum(widths)
    table = rng.normal(size=n_features * n_columns).astype(np.float16)
    table[:3] = 1e-7, -60000, 0  # a subnormal one, a large one
    lengths = np.array([0, 1, 5, 23])
    indices = np.concatenate([rng.permutation(n_features)[:n] for n in lengths]).astype(np.int32)
    data, indptr = rng.normal(size=len(indices)), np.concatenate([[0], lengths.cumsum()])
    data, starts = data.astype(dtype), np.zeros(n_columns, np.float32)
    totals, wide = np.zeros((2, len(lengths), n_columns), np.float32)
    args = data, indices, None, indptr, -2.0
    products(*args, as_stored(table), np.array(widths), starts, totals)
    products(*args, table.astype(np.float32), np.array(widths), starts, wide)
    np.testing.assert_array_equal(totals, wide)


@kernel
def put_all(values, table):
    for i in range(0, len(table), LANES):
        put(load(values, i, LANES), table, i)


def test_halves_are_rounded_to_the_nearest():
    values = np.random.default_rng(0).normal(size=6 * LANES).astype(np.float32)
    values[:4] = 1e-7, 1e-9, -65504, 1 + 2.0**-11
    expected = as_stored(values.astype(np.float16))
    if not WIDENS_HALVES:
        expected = values
    guard = Guarded(np.zeros_like(expected))
    put_all(values, guard.array)
    np.testing.assert_array_equal(guard.array, expected)
    assert guard.intact()


@kernel
def put_squares(points, numbers, scale, table, at, width):
    for c in range(0, len(numbers), LANES):
        for f in range(0, points.shape[1] - LANES + 1, LANES):
            put_square(points, numbers, c, f, scale, table, at + f * width + c, width)


@pytest.mark.parametrize("halves", [False, WIDENS_HALVES])
def test_squares_of_points_lie_side_by_side(halves):
    rng = np.random.default_rng(0)
    n_features, at, width = 2 * LANES + 3, 5 * LANES, 3 * LANES
    numbers = rng.integers(0, 9, 2 * LANES)  # as a table's columns, the last of which are padding
    points = Guarded(rng.normal(size=(9, n_features)))
    expected = np.zeros((2 * LANES, width), np.float16 if halves else np.float32)
    expected[:, : 2 * LANES] = (0.25 * points.array[numbers, : 2 * LANES].T).astype(np.float32)
    expected = np.concatenate([np.zeros(at, expected.dtype), expected.ravel()])
    expected = as_stored(expected) if halves else expected
    table = Guarded(np.zeros_like(expected))
    put_squares(points.array, numbers, 0.25, table.array, at, width)
    np.testing.assert_array_equal(table.array, expected)
    assert points.intact()
    assert table.intact()


@kernel
def transpose_all(rows, columns):
    transpose(rows, columns)


def test_transpose():
    rows = np.random.default_rng(0).normal(size=(LANES, LANES)).astype(np.float32)
    columns = Guarded(np.zeros_like(rows))
    transpose_all(rows, columns.array)
    np.testing.assert_array_equal(columns.array, rows.T)
    assert columns.intact()
