import numpy as np
import pytest
from guards import Guarded

from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.vectors.elementary import exp, exp_nonpositive, log
from fastem.kernels.vectors.machine import DOUBLES, LANES
from fastem.kernels.vectors.vector import load, store


def over_arrays(function, lanes):
    @kernel
    def apply(x, output):
        for i in range(0, len(x), lanes):
            store(function(load(x, i, lanes)), output, i)

    return apply


KERNELS = {
    (function, dtype): over_arrays(function, lanes)
    for function in (exp, exp_nonpositive, log)
    for dtype, lanes in ((np.float32, LANES), (np.float64, DOUBLES))
}
DTYPES = [np.float32, np.float64]

# By so much of it ln 2 is off in either type.
LN2_OFF = {np.float32: 1.9046543e-9 / np.log(2), np.float64: 2.3190468138463e-17 / np.log(2)}


def call(function, x):
    """The function of every value, with guard padding around whole vectors of input and output."""
    x = np.asarray(x)
    padded = Guarded(np.concatenate([x, np.ones(-len(x) % LANES, x.dtype)]))
    output = Guarded(np.zeros_like(padded.array))
    KERNELS[function, x.dtype.type](padded.array, output.array)
    assert output.intact()
    return output.array[: len(x)]


def worst_error(function, x):
    """In units of the last place, against 64 bits of mantissa."""
    exact = (np.log if function is log else np.exp)(x.astype(np.longdouble))
    unit = np.spacing(np.abs(exact).astype(x.dtype)).astype(np.longdouble)
    # What comes of arguments that are off, of which the exponential is off as much.
    excused = np.abs(x * exact) * LN2_OFF[x.dtype.type] if function is exp_nonpositive else 0
    return ((np.abs(call(function, x) - exact) - excused) / unit).max()


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_is_accurate(dtype):
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    low, high = np.log(info.tiny), np.log(info.max)
    lowest = np.log(info.smallest_subnormal)
    arguments = [
        rng.uniform(low, high, 50_000),
        rng.uniform(lowest, low, 10_000),  # subnormal results
        rng.normal(size=50_000),
        1e-3 * rng.normal(size=10_000),
        np.log(2) * (np.arange(-120, 120) + 0.5),  # where the reduction changes its integer
        np.log(2) * np.arange(-120, 120),
    ]
    for x in arguments:
        x = x.astype(dtype)
        for near in (x, np.nextafter(x, dtype(np.inf)), np.nextafter(x, dtype(-np.inf))):
            assert worst_error(exp, near) < 1.1


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_is_accurate(dtype):
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    low, high = np.log2(info.tiny), np.log2(info.max)
    arguments = [
        2.0 ** rng.uniform(low, high - 0.01, 50_000),
        2.0 ** rng.uniform(np.log2(info.smallest_subnormal), low, 10_000),
        rng.uniform(0.4, 2.2, 50_000),
        1 + 1e-2 * rng.normal(size=20_000),
        1 + 4 * info.eps * rng.normal(size=1000),
        np.sqrt(0.5) * 2.0 ** np.arange(-120, 120),  # where the reduction changes its integer
        2.0 ** np.arange(-120, 120),
        np.array([info.max, info.tiny, info.smallest_subnormal]),
    ]
    for x in arguments:
        x = x.astype(dtype)
        x = x[x > 0]
        for near in (x, np.nextafter(x, dtype(1)), np.nextafter(x, dtype(2))):
            assert worst_error(log, near[near != 1]) < 1.1
    assert call(log, np.ones(1, dtype))[0] == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [exp, log])
def test_special_values(function, dtype):
    info = np.finfo(dtype)
    x = np.array(
        [0.0, -0.0, np.inf, -np.inf, np.nan, info.max, -info.max, -1, -info.tiny, 1e4, -1e4,
         -info.smallest_subnormal, info.smallest_subnormal],
        dtype,
    )  # fmt: skip
    with np.errstate(all="ignore"):
        expected = getattr(np, "exp" if function is exp else "log")(x.astype(np.longdouble))
        expected = expected.astype(dtype)
    np.testing.assert_allclose(call(function, x), expected, rtol=2 * info.eps, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ends_of_the_exponential(dtype):
    """Overflow and the last subnormal results, on both sides."""
    info = np.finfo(dtype)
    for edge in (np.log(np.longdouble(info.max)), np.log(np.longdouble(info.smallest_subnormal))):
        x = dtype(edge) + np.arange(-50, 51).astype(dtype) * np.spacing(np.abs(dtype(edge)))
        with np.errstate(over="ignore", under="ignore"):
            expected = np.exp(x.astype(np.longdouble)).astype(dtype)
        np.testing.assert_allclose(
            call(exp, x), expected, rtol=2 * info.eps, atol=info.smallest_subnormal
        )
    assert call(exp, np.array([np.log(info.smallest_subnormal) - 1], dtype))[0] == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_without_positive_arguments(dtype):
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    low = np.log(info.tiny)
    arguments = [
        rng.uniform(low + 1e-3, 0, 50_000),
        -np.abs(rng.normal(size=50_000)),
        -np.log(2) * (np.arange(120) + 0.5),
        np.zeros(1),
    ]
    for x in arguments:
        assert worst_error(exp_nonpositive, x.astype(dtype)) < 1.2
    x = np.append(rng.uniform(2 * low, low - 1, 1000), [-info.max, -np.inf])
    assert not call(exp_nonpositive, x.astype(dtype)).any()
    assert np.isnan(call(exp_nonpositive, np.array([np.nan], dtype))).all()
    assert (call(exp_nonpositive, np.array([0.0, -0.0], dtype)) == 1).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_on_both_sides_of_every_step(dtype):
    """Halfway between the powers of two that a table may hold, and next to them."""
    steps = np.arange(-960, 0) / 32
    x = (np.log(np.longdouble(2)) * steps).astype(dtype)
    x = np.concatenate([x, np.nextafter(x, dtype(0)), np.nextafter(x, dtype(-np.inf))])
    assert worst_error(exp_nonpositive, x) < 1.2
