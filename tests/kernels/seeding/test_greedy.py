import numpy as np
import pytest
import scipy.sparse as sp
from reference import squared_distances

from fastem.kernels.runtime import parallel
from fastem.kernels.seeding import coarse
from fastem.kernels.seeding.coarse import CoarseSeeder
from fastem.kernels.seeding.codes import NO_ROWS
from fastem.kernels.seeding.direct import DirectSeeder
from fastem.kernels.seeding.euclidean import GreedySeeder
from fastem.kernels.seeding.few import FewRowsSeeder
from fastem.kernels.seeding.sparse import SparseGreedySeeder
from fastem.kernels.seeding.tiled import TiledSeeder

SIZES = [1, 2, 3, 7, 63, 64, 65, 129]
TOLERANCE = {np.float32: 3e-5, np.float64: 1e-12}


def blobs(rng, n_rows, n_features):
    centers = 20 * rng.normal(size=(5, n_features))
    return centers[rng.integers(5, size=n_rows)] + rng.normal(size=(n_rows, n_features))


def noise(rng, n_rows, n_features):
    return rng.uniform(size=(n_rows, n_features))


def duplicates(rng, n_rows, n_features):
    return rng.integers(3, size=(n_rows, n_features)).astype(float)


def far_away(rng, n_rows, n_features):
    return 1000 + noise(rng, n_rows, n_features)


KINDS = [blobs, noise, duplicates, far_away]


def coarse_seeder(X, sample_weight, scale):
    return CoarseSeeder(X, sample_weight, scale, X.mean(axis=0))


class sparse_seeder(SparseGreedySeeder):
    """Takes dense rows, as the others do."""

    room = 0

    def __init__(self, X, sample_weight, scale):
        super().__init__(sp.csr_array(X), sample_weight, scale, self.room)

    def add(self, point):
        return super().add(sp.csr_array(point[np.newaxis]))

    def screen(self, candidates):
        return super().screen(sp.csr_array(candidates))


class columns_seeder(sparse_seeder):
    """With the rows by columns, too."""

    room = 1 << 40


# What seeds rows, of which dtype.
SEEDERS = [
    pytest.param(GreedySeeder, np.float32, id="float32"),
    pytest.param(GreedySeeder, np.float64, id="float64"),
    pytest.param(FewRowsSeeder, np.float32, id="few-float32"),
    pytest.param(FewRowsSeeder, np.float64, id="few"),
    pytest.param(coarse_seeder, np.float64, id="coarse"),
    pytest.param(sparse_seeder, np.float32, id="sparse-float32"),
    pytest.param(sparse_seeder, np.float64, id="sparse"),
    pytest.param(columns_seeder, np.float32, id="columns-float32"),
    pytest.param(columns_seeder, np.float64, id="columns"),
    pytest.param(DirectSeeder, np.float32, id="direct-float32"),
    pytest.param(DirectSeeder, np.float64, id="direct-float64"),
]


class Twin:
    """What a seeder does, in plain NumPy."""

    def __init__(self, X, sample_weight):
        self.X = X
        self.weights = np.ones(len(X)) if sample_weight is None else sample_weight
        self.closest = np.full(len(X), np.inf)

    def try_candidates(self, points):
        distances = np.minimum(self.closest[:, np.newaxis], squared_distances(self.X, points))
        return self.weights @ distances

    def accept(self, point):
        distances = squared_distances(self.X, point[np.newaxis])[:, 0]
        self.closest = np.minimum(self.closest, distances)

    def cumulated(self):
        return np.cumsum(self.weights * self.closest)


def check_against_twin(seeder, X, sample_weight, n_candidates, n_seeds, rng, scale=0.5):
    tolerance = TOLERANCE[X.dtype.type]
    twin = Twin(X, sample_weight)
    seeder = seeder(X, sample_weight, scale)
    unit = scale**2
    first = X[rng.integers(len(X))]
    twin.accept(first)
    potential = seeder.add(first)
    seeds = [first]
    for _ in range(n_seeds - 1):
        cumulated = twin.cumulated() * unit
        np.testing.assert_allclose(potential, cumulated[-1], rtol=tolerance, atol=1e-30)
        values = np.append(rng.uniform(size=3), [0.0, 1.0]) * potential
        for value, row in zip(values, seeder.locate(values), strict=True):
            slack = tolerance * cumulated[-1]
            assert cumulated[row] >= value - slack
            assert row == 0 or cumulated[row - 1] <= value + slack
        points = X[rng.integers(len(X), size=n_candidates)]
        expected = twin.try_candidates(points) * unit
        least, most = seeder.screen(points)
        gains = cumulated[-1] - expected
        slack = tolerance * cumulated[-1]
        assert (least <= gains + slack).all()
        assert (most >= gains - slack).all()
        kept = np.flatnonzero(most >= least.max())
        potentials = seeder.try_candidates(kept)
        np.testing.assert_allclose(potentials, expected[kept], rtol=tolerance, atol=1e-30)
        best = int(np.argmin(potentials))
        potential = seeder.accept(best)
        assert potential == potentials[best]
        twin.accept(points[kept[best]])
        seeds.append(points[kept[best]])
    if isinstance(seeder, GreedySeeder):
        labels = seeder.labels
        assert labels.dtype == np.int32
        distances = squared_distances(X, np.array(seeds))
        own = distances[np.arange(len(X)), labels]
        np.testing.assert_allclose(own, distances.min(axis=1), rtol=tolerance, atol=1e-30)


@pytest.mark.parametrize(("seeder", "dtype"), SEEDERS)
@pytest.mark.parametrize("n_features", [*SIZES, 4, 5, 15, 16, 17, 23, 24, 47, 48])
def test_twin_over_shapes(n_features, seeder, dtype):
    rng = np.random.default_rng(n_features)
    for n_rows in SIZES:
        for number, n_candidates in enumerate(SIZES[:6]):
            X = KINDS[number % 4](rng, n_rows, n_features).astype(dtype)
            sample_weight = [None, rng.uniform(size=n_rows), rng.integers(2, size=n_rows) * 1.0]
            check_against_twin(seeder, X, sample_weight[number % 3], n_candidates, 4, rng)


@pytest.mark.parametrize(("seeder", "dtype"), SEEDERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_features", [3, 20, 50, 130])
def test_twin_over_many_rows(n_features, kind, seeder, dtype):
    rng = np.random.default_rng(0)
    X = kind(rng, 9000, n_features).astype(dtype)
    check_against_twin(seeder, X, rng.uniform(size=len(X)), 3, 12, rng)
    check_against_twin(seeder, X[:300], None, 129, 3, rng)


@pytest.mark.parametrize("seeder", [GreedySeeder, coarse_seeder])
@pytest.mark.parametrize("n_features", [2, 30, 60])
def test_many_seeds(n_features, seeder):
    """More seeds than rows in a chunk's lists, some of them the same."""
    rng = np.random.default_rng(0)
    X = blobs(rng, 150, n_features)
    check_against_twin(seeder, X, None, 2, 400, rng)


@pytest.mark.parametrize(("seeder", "dtype"), SEEDERS)
@pytest.mark.parametrize("n_features", [2, 17, 60])
@pytest.mark.parametrize("scale", [2.0**-90, 2.0**90])
def test_magnitudes_out_of_range(n_features, scale, seeder, dtype):
    """The scale keeps squares of float32 in range."""
    rng = np.random.default_rng(0)
    X = (blobs(rng, 500, n_features) / scale).astype(dtype)
    check_against_twin(seeder, X, None, 3, 5, rng, scale)


@pytest.mark.parametrize(("seeder", "dtype"), SEEDERS)
@pytest.mark.parametrize("n_features", [3, 40, 60])
def test_as_exact_far_from_the_origin(n_features, seeder, dtype):
    """Differences are exact here, wherever the rows lie."""
    rng = np.random.default_rng(0)
    X = rng.integers(-50, 50, size=(1000, n_features)).astype(dtype)
    far = X + dtype(2**20)
    results = []
    for rows in (X, far):
        tested = seeder(rows, None, 1.0)
        tested.add(rows[0])
        results.append(tried(tested, rows[5:12]))
    np.testing.assert_array_equal(*results)


def tried(seeder, points):
    """The potentials of all points."""
    seeder.screen(points)
    return seeder.try_candidates(np.arange(len(points)))


def not_pruning(seeder):
    seeder._margin = seeder._margin * 0 - 1  # every limit is negative then
    return seeder


def closest_of(seeder):
    """Every row's distance from its nearest seed; some seeders bring tiles up to date later."""
    if isinstance(seeder, TiledSeeder):
        seeder._settle(seeder._tiles)
    return seeder._closest


def seed_by_seed(seeder, X, sample_weight, n_seeds, n_candidates=5):
    """All that a seeder returns along the way, and the distances at last."""
    rng = np.random.default_rng(1)
    seeder = seeder(X, sample_weight, 1.0)
    results = [[seeder.add(X[0])]]
    for _ in range(n_seeds):
        results.append(seeder.locate(rng.uniform(size=4) * results[0][0] / 2))
        results.append(tried(seeder, X[rng.integers(len(X), size=n_candidates)]))
        results.append([seeder.accept(int(np.argmin(results[-1])))])
    return [*results, closest_of(seeder)]


@pytest.mark.parametrize(("seeder", "dtype"), SEEDERS)
@pytest.mark.parametrize("n_features", [2, 20, 100])
def test_bitwise_same_for_any_number_of_threads(n_features, seeder, dtype, monkeypatch):
    rng = np.random.default_rng(0)
    X = blobs(rng, 20_000, n_features).astype(dtype)
    sample_weight = rng.uniform(size=len(X))
    results = []
    for n_threads in (1, 2, 3, 7):
        monkeypatch.setattr(parallel, "get_num_threads", lambda n=n_threads: n)
        results.append(seed_by_seed(seeder, X, sample_weight, 6))
    for other in results[1:]:
        for expected, result in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(result, expected)


def without_pruning(seeder, monkeypatch):
    if seeder is GreedySeeder:
        return lambda *args: not_pruning(GreedySeeder(*args))
    monkeypatch.setattr(coarse, "code_rows", lambda *args: NO_ROWS)
    return seeder


@pytest.mark.parametrize(("seeder", "dtype"), SEEDERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_features", [24, 50, 300])
@pytest.mark.parametrize("n_candidates", [1, 2, 5])
def test_pruning_changes_nothing(n_candidates, n_features, kind, seeder, dtype, monkeypatch):
    X = kind(np.random.default_rng(0), 3000, n_features).astype(dtype)
    results = seed_by_seed(seeder, X, None, 8, n_candidates)
    seeder = without_pruning(seeder, monkeypatch)
    for result, expected in zip(
        results, seed_by_seed(seeder, X, None, 8, n_candidates), strict=True
    ):
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(("seeder", "dtype"), SEEDERS)
def test_pruning_where_bounds_are_tight(seeder, dtype, monkeypatch):
    """Rows half way between a seed and a candidate, give or take a few roundings."""
    for trial in range(20):
        rng = np.random.default_rng(trial)
        seed, candidate = rng.normal(size=(2, 48))
        jitter = 1 + np.finfo(dtype).eps * rng.integers(-3, 4, (1000, 48))
        X = ((seed + candidate) / 2 * jitter).astype(dtype)
        X[0], X[1] = seed, candidate
        results = []
        for prune in (True, False):
            with monkeypatch.context() as patch:
                make = seeder if prune else without_pruning(seeder, patch)
                tested = make(X, None, 1.0)
                tested.add(X[0])
                results.append(tried(tested, X[1:2]))
                tested.accept(0)
                results.append(closest_of(tested))
        np.testing.assert_array_equal(results[0], results[2])
        np.testing.assert_array_equal(results[1], results[3])


@pytest.mark.parametrize(("seeder", "dtype"), SEEDERS)
@pytest.mark.parametrize("n_features", [1, 2, 3, 4, 5, 15, 16, 17, 24, 33, 48, 64])
@pytest.mark.parametrize("n_rows", [1, 2, 63, 64, 65])
def test_nothing_outside_is_read_into_a_result(n_rows, n_features, seeder, dtype):
    """Rows and weights inside padding of NaN."""
    rng = np.random.default_rng(0)
    X = noise(rng, n_rows, n_features).astype(dtype)
    padded = np.full((n_rows + 200) * n_features, np.nan, dtype)
    inside = padded[100 * n_features : (100 + n_rows) * n_features].reshape(X.shape)
    inside[:] = X
    padded_weight = np.full(n_rows + 200, np.nan)
    weight = padded_weight[100 : 100 + n_rows]
    weight[:] = rng.uniform(size=n_rows)
    for expected, result in zip(
        seed_by_seed(seeder, X, weight.copy(), 3),
        seed_by_seed(seeder, inside, weight, 3),
        strict=True,
    ):
        np.testing.assert_array_equal(result, expected)
        assert np.isfinite(result).all()


def test_no_bounds_from_weights_beyond_float32():
    rng = np.random.default_rng(0)
    X = blobs(rng, 200, 16)
    for power in (-50, 50):
        seeder = coarse_seeder(X, 10.0**power * rng.uniform(size=200), 1.0)
        seeder.add(X[0])
        least, most = seeder.screen(X[1:4])
        assert list(least) == [0, 0, 0]
        assert list(most) == [np.inf] * 3


@pytest.mark.parametrize(("seeder", "most"), [(GreedySeeder, 15), (coarse_seeder, 31)])
def test_memory(seeder, most):
    """Besides distances, labels or codes and their norms, only what a tile of rows shares."""
    X = np.zeros((6400, 16))
    seeder = seeder(X, None, 1.0)
    seeder.add(X[0])
    tried(seeder, X[:6])
    seeder.accept(0)
    tried(seeder, X[:6])
    arrays = [*vars(seeder).values(), *getattr(seeder, "_coarse", ())]
    arrays = {id(a): a for a in arrays if isinstance(a, np.ndarray)}
    buffers = {id(b): b for b in (a if a.base is None else a.base for a in arrays.values())}
    held = sum(b.nbytes for b in buffers.values() if b is not X)
    assert held < most * len(X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_candidates_of_few_values_and_of_many(dtype):
    """Their lines are numbered in 16 bits, and in 32 where these don't hold as many."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 40_000)).astype(dtype)
    X[:10, 5:] = 0
    seeder = sparse_seeder(X, None, 1.0)
    closest = ((X - X[0]).astype(float) ** 2).sum(axis=1)
    seeder.add(X[0])
    for candidates in (np.arange(1, 6), np.arange(10, 15), np.arange(6, 9)):
        seeder.screen(X[candidates])
        found = seeder.try_candidates(np.arange(len(candidates)))
        squares = squared_distances(X.astype(float), X[candidates].astype(float))
        expected = np.minimum(closest[:, np.newaxis], squares)
        tolerance = 1e-10 if dtype == np.float64 else 1e-5
        np.testing.assert_allclose(found, expected.sum(axis=0), rtol=tolerance)
        best = int(found.argmin())
        seeder.accept(best)
        closest = expected[:, best]
