import numpy as np
import pytest
from guards import Guarded
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba import njit, prange
from numba.core.errors import TypingError
from processes import run_script
from reference import squared_distances

from fastem.kernels import manhattan, nearest, squared_euclidean
from fastem.kernels.distances import nearest_row, pairwise
from fastem.kernels.runtime.chunks import row_chunks
from fastem.kernels.runtime.inputs import as_pair

SHAPES = [
    (1, 1, 1), (2, 3, 1), (7, 5, 3), (3, 64, 2), (63, 65, 4), (64, 64, 16), (65, 129, 7),
    (129, 63, 17), (300, 70, 64), (9, 127, 3), (257, 1100, 3),
    (5, 200, 65), (2, 1100, 129), (600, 2, 129),
]  # fmt: skip
DTYPES = [np.float32, np.float64]


def make(n, m, d, dtype, offset=0.0):
    rng = np.random.default_rng(n * m * d)
    X, Y = (rng.normal(size=(rows, d)) + offset for rows in (n, m))
    return X.astype(dtype), Y.astype(dtype)


def absolute_distances(X, Y):
    return np.abs(X[:, np.newaxis].astype(float) - Y.astype(float)).sum(axis=2)


PAIRWISE = [(squared_euclidean, squared_distances), (manhattan, absolute_distances)]


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("function", "naive"), PAIRWISE)
def test_pairwise(function, naive, shape, dtype, offset):
    X, Y = make(*shape, dtype, offset)
    result = function(X, Y)
    assert result.dtype == dtype
    rtol = 1e-13 if dtype is np.float64 else 5e-6
    np.testing.assert_allclose(result, naive(X, Y), rtol=rtol)


@pytest.mark.parametrize(("function", "naive"), PAIRWISE)
def test_pairwise_of_equal_rows_is_zero(function, naive):
    X = make(70, 1, 9, np.float64, 1e8)[0]
    assert (np.diag(function(X, X)) == 0).all()


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_nearest(shape, dtype, offset):
    X, Y = make(*shape, dtype, offset)
    if offset:
        X, Y = np.round(X), np.round(Y)  # exact in both dtypes: ties
    labels, result = nearest(X, Y)
    naive = squared_distances(X, Y)
    np.testing.assert_array_equal(labels, naive.argmin(axis=1))
    assert labels.dtype == np.int32
    assert result.dtype == dtype
    np.testing.assert_allclose(
        result, naive.min(axis=1), rtol=1e-13 if dtype is np.float64 else 1e-7
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_lowest_of_equally_near_rows(dtype):
    rng = np.random.default_rng(0)
    X = rng.integers(-2, 3, (300, 4)).astype(dtype) + dtype(1000)
    Y = np.concatenate([X[:40], X[:40], X[::-1][:40]])
    labels, _ = nearest(X, Y)
    np.testing.assert_array_equal(labels, squared_distances(X, Y).argmin(axis=1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_float32_cannot_tell(dtype):
    """Points a few units in the last place apart, about an offset and beside a far one."""
    rng = np.random.default_rng(0)
    unit = np.spacing(dtype(3))
    Y = np.full((30, 5), 3, dtype) + unit * rng.integers(-4, 5, (30, 5)).astype(dtype)
    X = np.full((200, 5), 3, dtype) + unit * rng.integers(-4, 5, (200, 5)).astype(dtype)
    for points in (Y, np.concatenate([Y, np.full((1, 5), 1e6, dtype)])):
        labels, result = nearest(X, points)
        naive = squared_distances(X, points)
        np.testing.assert_array_equal(labels, naive.argmin(axis=1))
        np.testing.assert_allclose(result, naive.min(axis=1), rtol=1e-6)


@pytest.mark.parametrize("exponent", [-140, -60, -20, 0, 20, 60, 100])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nearest_at_any_magnitude(dtype, exponent):
    """Also where two far points set the scale, beside which the others vanish in float32."""
    rng = np.random.default_rng(0)
    magnitude = 10.0 ** (exponent / 8 if dtype is np.float32 else exponent)
    far = np.ones((2, 3)) * [[1], [-1]]
    for beside in (1.0, 1e10, 1e20, 1e21, 1e22, 1e23):
        X, Y = (rng.normal(size=(n, 3)) * magnitude for n in (600, 6))
        rows, points = X.astype(dtype), np.concatenate([far * magnitude * beside, Y]).astype(dtype)
        labels, _ = nearest(rows, points)
        np.testing.assert_array_equal(labels, squared_distances(rows, points).argmin(axis=1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [1, 3, 17, 65, 300])
def test_close_calls(n_features, dtype):
    """Pairs of points so close that float32 scores err by more than their difference."""
    rng = np.random.default_rng(n_features)
    X = rng.normal(size=(400, n_features)).astype(dtype)
    Y = rng.normal(size=(6, n_features)).astype(dtype)
    for step in 10.0 ** -np.arange(3, 8 if dtype is np.float32 else 11):
        points = np.concatenate([Y, Y * (1 + step * rng.normal(size=Y.shape))]).astype(dtype)
        labels, _ = nearest(X, points)
        np.testing.assert_array_equal(labels, squared_distances(X, points).argmin(axis=1))


coordinates = st.builds(
    lambda m, e: m * 2.0**e, st.integers(-64, 64), st.sampled_from([-70, -35, -8, 0, 0, 0, 8, 35])
)


@settings(deadline=None, max_examples=150)
@given(st.data(), st.integers(1, 4), st.sampled_from(DTYPES))
def test_no_row_is_nearer(data, n_features, dtype):
    n_rows, n_others = data.draw(st.integers(0, 70)), data.draw(st.integers(1, 9))
    X, Y = (
        data.draw(arrays(dtype, (n, n_features), elements=coordinates, fill=st.nothing()))
        for n in (n_rows, n_others)
    )
    labels, result = nearest(X, Y)
    naive = squared_distances(X, Y)
    chosen = naive[np.arange(n_rows), labels]
    np.testing.assert_allclose(chosen, naive.min(axis=1), rtol=1e-14)
    single = dtype is np.float32
    tiny = np.finfo(dtype).smallest_subnormal
    np.testing.assert_allclose(result, chosen, rtol=1e-7 if single else 1e-14, atol=tiny)
    pairwise = squared_euclidean(X, Y)
    np.testing.assert_allclose(pairwise, naive, rtol=1e-6 if single else 1e-14, atol=4 * tiny)


# What may be passed


@pytest.mark.parametrize("function", [squared_euclidean, manhattan, nearest])
def test_conversions(function):
    X, Y = make(70, 9, 6, np.float64)
    X, Y = np.round(4 * X), np.round(4 * Y)
    expected = function(X, Y)
    single = function(X.astype(np.float32), Y.astype(np.float32))
    wide = np.zeros((70, 12))
    wide[:, ::2] = X
    read_only = X.copy()
    read_only.flags.writeable = False
    unaligned = np.zeros(X.nbytes + 1, np.uint8)[1:].view(np.float64).reshape(X.shape)
    unaligned[:] = X
    variants = [
        X.tolist(), X.astype(int), X.astype(np.int8), X.astype(np.float16), X.astype(">f8"),
        X.astype(">f4"), X.astype(np.float32), X.astype(np.longdouble), X.astype(object),
        np.asfortranarray(X), wide[:, ::2], read_only, unaligned,
    ]  # fmt: skip
    before = X.copy()
    for variant in variants:
        for result, wanted in zip(tuple(function(variant, Y)), tuple(expected), strict=True):
            np.testing.assert_array_equal(result, wanted)
            assert result.dtype == wanted.dtype
    assert single[-1].dtype == np.float32
    np.testing.assert_array_equal(single[0], expected[0])
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(function(X > 0, Y)[0], function((X > 0) * 1.0, Y)[0])


def test_float_input_is_not_copied():
    for dtype in DTYPES:
        X, Y = make(5, 4, 3, dtype)
        X.flags.writeable = False
        for given_array, taken in zip((X, Y), as_pair(X, Y), strict=True):
            assert np.shares_memory(given_array, taken)


def test_few_signatures():
    for dtype in DTYPES:
        X, Y = make(5, 4, 3, dtype)
        for function in (squared_euclidean, manhattan, nearest):
            function(X, Y)
            function(np.asfortranarray(X), Y)
            X.flags.writeable = False
            function(X, Y.tolist())
    bodies = pairwise.squared_euclidean_pass, pairwise.manhattan_pass, nearest_row.nearest_pass
    for body in bodies:
        assert len(body.signatures) == 2


@pytest.mark.parametrize("function", [squared_euclidean, manhattan, nearest])
def test_refusals(function):
    X = np.ones((4, 3))
    for bad, message in [
        (np.ones(3), "2-D"),
        (np.ones((2, 3, 1)), "2-D"),
        (np.float64(1), "2-D"),
        (X + 1j, "real numbers"),
        (X.astype(str), "real numbers"),
        (np.array([["a", None, 1]], object), "real numbers"),
        (np.ones((4, 2)), "same number of features"),
    ]:
        with pytest.raises(ValueError, match=message):
            function(bad, X)
        with pytest.raises(ValueError, match=message):
            function(X, bad)
    with pytest.raises(ValueError, match="at least one feature"):
        function(np.ones((4, 0)), np.ones((2, 0)))


def test_no_rows():
    X, nothing = np.ones((4, 3)), np.ones((0, 3))
    for function in (squared_euclidean, manhattan):
        assert function(nothing, X).shape == (0, 4)
        assert function(X, nothing).shape == (4, 0)
    labels, result = nearest(nothing, X)
    assert labels.shape == result.shape == (0,)
    with pytest.raises(ValueError, match="at least one row"):
        nearest(X, nothing)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity(dtype):
    X, Y = make(130, 40, 5, dtype)
    X[3, 2], X[70, 0], X[71], Y[4, 1], Y[9, 0] = np.nan, np.inf, -np.inf, np.nan, np.inf
    with np.errstate(invalid="ignore"):
        for function, naive in PAIRWISE:
            np.testing.assert_allclose(function(X, Y), naive(X, Y), rtol=1e-5)
        expected = squared_distances(X, Y)
    labels, result = nearest(X, Y)
    assert ((labels >= 0) & (labels < len(Y))).all()
    finite = np.isfinite(X).all(axis=1)
    usable = np.where(np.isfinite(expected), expected, np.inf)
    np.testing.assert_array_equal(labels[finite], usable.argmin(axis=1)[finite])
    assert (labels[~finite] == 0).all()
    np.testing.assert_allclose(result, expected[np.arange(130), labels], rtol=1e-6)
    labels, _ = nearest(X, np.full((3, 5), np.nan, dtype))
    assert (labels == 0).all()


# Nothing outside of the arrays


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_guard_padding(shape, dtype):
    X, Y = (Guarded(array) for array in make(*shape, dtype))
    n, m = len(X.array), len(Y.array)
    x, y = as_pair(X.array, Y.array)
    for body, naive in (
        (pairwise.squared_euclidean_pass, squared_distances),
        (pairwise.manhattan_pass, absolute_distances),
    ):
        output = Guarded(np.full((n, m), np.nan, dtype))
        n_chunks = pairwise.chunk_shape(n, m, x.shape[1])[2]
        body(np.zeros(1, np.int64), n_chunks, x, y, output.array)
        assert output.intact()
        np.testing.assert_allclose(output.array, naive(x, y), rtol=5e-6)
    labels, result = Guarded(np.full(n, -1, np.int32)), Guarded(np.full(n, np.nan, dtype))
    chunk_rows, n_chunks = row_chunks(n, y.size)
    nearest_row.nearest_pass(
        np.zeros(1, np.int64), n_chunks, chunk_rows, x, nearest_row.pack(y),
        labels.array, result.array,
    )  # fmt: skip
    assert labels.intact() and result.intact()
    np.testing.assert_array_equal(labels.array, squared_distances(x, y).argmin(axis=1))


# From compiled code


@njit
def all_three(X, Y):
    return squared_euclidean(X, Y), manhattan(X, Y), *nearest(X, Y)


@njit
def manhattan_compiled(X, Y):
    return manhattan(X, Y)


@njit(parallel=True)
def in_parallel(X, Y, output):
    for i in prange(output.shape[0]):
        labels, result = nearest(X[i:], Y)
        output[i] = result.sum() + labels.sum()


def from_python(X, Y):
    return squared_euclidean(X, Y), manhattan(X, Y), *nearest(X, Y)


@pytest.mark.parametrize("dtype", DTYPES)
def test_from_compiled_code(dtype):
    for shape in SHAPES:
        X, Y = make(*shape, dtype)
        for result, wanted in zip(all_three(X, Y), from_python(X, Y), strict=True):
            np.testing.assert_array_equal(result, wanted)
            assert result.dtype == wanted.dtype


def test_conversions_in_compiled_code():
    X, Y = make(20, 7, 6, np.float64)
    single = X.astype(np.float32)
    result = manhattan_compiled(np.asfortranarray(single), Y[:, ::-1])
    np.testing.assert_array_equal(result, manhattan(single, Y[:, ::-1]))
    whole = np.round(Y).astype(np.int8)
    np.testing.assert_array_equal(manhattan_compiled(whole, Y), manhattan(whole, Y))


def test_in_a_parallel_region():
    X, Y = make(80, 7, 6, np.float64)
    output = np.empty(9)
    in_parallel(X, Y, output)
    for i, value in enumerate(output):
        labels, result = nearest(X[i:], Y)
        expected = result.sum() + labels.sum()
        np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_refusals_in_compiled_code():
    X = np.ones((4, 3))
    with pytest.raises(ValueError, match="same number of features"):
        all_three(X, X[:, :2].copy())
    with pytest.raises(ValueError, match="at least one feature"):
        all_three(X[:, :0].copy(), X[:, :0].copy())
    with pytest.raises(ValueError, match="at least one row"):
        all_three(X, X[:0])
    with pytest.raises(TypingError, match="2-D arrays"):
        all_three(X[0], X)
    with pytest.raises(TypingError, match="real numbers"):
        all_three(X + 1j, X + 1j)


USER_MODULE = """
import numpy as np
from numba import njit
from fastem.kernels import nearest

@njit(cache=True)
def spread(X, Y):
    labels, distances = nearest(X, Y)
    return distances.sum() + labels[0]
"""


def test_a_user_function_is_cached(tmp_path):
    (tmp_path / "user_module.py").write_text(USER_MODULE)
    script = """
        import sys
        sys.path.insert(0, sys.argv[1])
        import numpy as np
        from user_module import spread
        X = np.arange(12.0).reshape(6, 2)
        print(spread(X, X[2:4] + 0.25), sum(spread.stats.cache_hits.values()))
    """
    first, second = (
        run_script(script, tmp_path, NUMBA_CACHE_DIR=tmp_path / "cache").split() for _ in range(2)
    )
    X = np.arange(12.0).reshape(6, 2)
    naive = squared_distances(X, X[2:4] + 0.25)
    expected = naive.min(axis=1).sum() + naive[0].argmin()
    assert float(first[0]) == float(second[0]) == expected
    assert [first[1], second[1]] == ["0", "1"]


def test_any_number_of_threads_gives_the_same_bits():
    script = """
        import hashlib
        import numba
        import numpy as np
        from fastem.kernels import manhattan, nearest, squared_euclidean
        for n_threads in (1, 2, 3):
            numba.set_num_threads(n_threads)
            digest = hashlib.sha256()
            for dtype in (np.float32, np.float64):
                rng = np.random.default_rng(0)
                X, Y = (rng.normal(size=(n, 7)).astype(dtype) for n in (3000, 150))
                for array in (squared_euclidean(X, Y), manhattan(X, Y), *nearest(X, Y)):
                    digest.update(array.tobytes())
            print(digest.hexdigest())
    """
    digests = run_script(script, NUMBA_NUM_THREADS=3).split()
    assert len(digests) == 3
    assert len(set(digests)) == 1
