"""Rows that are read a block at a time: fits are those to the same parts in memory, bit for bit."""

import gc
import itertools
import threading
import weakref
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp

from fastem import BernoulliMixture, GaussianMixture, KMeans, KMedians
from fastem.clustering.euclidean.seeding import STRATEGIES
from fastem.kernels.kmeans import ALGORITHMS
from fastem.rows import LocalRows, Part, Slot, stream
from fastem.rows.detached import Detached
from fastem.rows.reading import ReadAhead
from fastem.rows.stream import StreamedRows, streamed_parts

LENGTHS = [300, 0, 1, 450, 0, 249]
THING: Slot = Slot("thing")


class Thing:
    def __init__(self, **attributes):
        vars(self).update(attributes)


def blobs(dtype=np.float64, n_features=4):
    rng = np.random.default_rng(1)
    centers = rng.normal(size=(4, n_features), scale=4.0)
    X = centers[rng.integers(4, size=sum(LENGTHS))] + rng.normal(size=(sum(LENGTHS), n_features))
    return X.astype(dtype)


def some_weights(weighted):
    return np.random.default_rng(2).integers(0, 3, sum(LENGTHS)) * 0.5 if weighted else None


def blocks_of(X):
    ends = np.cumsum([0, *LENGTHS])
    return [X[a:b] for a, b in itertools.pairwise(ends)]


def streamed(X, sample_weight):
    readers = [block.copy for block in blocks_of(X)]
    parts = streamed_parts(readers, LENGTHS, sample_weight)
    return StreamedRows(parts, X.shape[1], X.dtype, sp.issparse(X))


def in_memory(X, sample_weight):
    ends = np.cumsum([0, *LENGTHS])
    return LocalRows(
        [
            Part(X[a:b], None if sample_weight is None else sample_weight[a:b], int(a), number)
            for number, (a, b) in enumerate(itertools.pairwise(ends))
        ]
    )


def assert_same_bits(make, X, sample_weight=None):
    fitted = make().fit(streamed(X, sample_weight))
    expected = make().fit(in_memory(X, sample_weight))
    for name, value in vars(expected).items():
        if name.endswith("_"):
            np.testing.assert_array_equal(getattr(fitted, name), value, err_msg=name)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("init", STRATEGIES)
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_kmeans(container, init, weighted):
    def make():
        return KMeans(4, init=init, n_init=2, random_state=0)

    assert_same_bits(make, container(blobs()), some_weights(weighted))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_features", [4, 20, 300])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_algorithms_of_kmeans(algorithm, n_features, dtype):
    def make():
        return KMeans(6, algorithm=algorithm, random_state=1)

    assert_same_bits(make, blobs(dtype, n_features))


def test_rows_that_must_be_scaled():
    assert_same_bits(lambda: KMeans(4, random_state=0), blobs() * 1e-200)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "tied_spherical", "VEV"])
def test_gaussian_mixtures(covariance_type, weighted):
    def make():
        return GaussianMixture(3, covariance_type=covariance_type, random_state=0, tol=1e-6)

    assert_same_bits(make, blobs(), some_weights(weighted))


@pytest.mark.parametrize("options", [{"accelerate": "squarem"}, {"assignment": "hard"}])
def test_other_steps(options):
    assert_same_bits(lambda: GaussianMixture(3, random_state=0, tol=1e-6, **options), blobs())


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_bernoulli_mixtures(container):
    X = container((blobs(n_features=30) > 0).astype(float))
    assert_same_bits(lambda: BernoulliMixture(3, random_state=0), X, some_weights(True))


class Owner(np.ndarray):
    """Owns its memory: what shares it keeps the owner alive."""


def test_no_rows_stay_in_memory():
    """Whatever a fit keeps between passes, it isn't the blocks."""
    alive = []

    def forget():
        alive[:] = [owner for owner in alive if owner() is not None]

    def reader(block):
        def read():
            forget()
            if len(alive) > 2:  # a collection takes long among all tests' objects
                gc.collect()
                forget()
            most.append(len(alive))
            owner = np.ndarray.__new__(Owner, block.shape)
            owner[...] = block
            alive.append(weakref.ref(owner))
            return owner

        return read

    most = []
    readers = [reader(block) for block in np.array_split(blobs(), 10)]
    rows = StreamedRows(streamed_parts(readers, [100] * 10), 4, np.dtype(float), False)
    KMeans(5, random_state=0).fit(rows)
    GaussianMixture(3, random_state=0).fit(rows)
    assert len(most) > 100
    assert max(most) <= 2  # and the one that is being read


def test_things_are_held_without_the_rows():
    X = np.arange(12.0).reshape(4, 3)
    own = np.arange(5)
    frozen = X.view()
    frozen.flags.writeable = False
    thing = Thing(X=X, corner=X[1:3, ::2], frozen=frozen, own=own, again=own, name="a")
    detached = Detached(thing, X)
    anew = X + 100.0
    attached = detached.attach(lambda: anew)
    assert attached.own is own and attached.again is own and attached.name == "a"
    assert np.shares_memory(attached.X, anew) and np.shares_memory(attached.corner, anew)
    np.testing.assert_array_equal(attached.X, anew)
    np.testing.assert_array_equal(attached.corner, anew[1:3, ::2])
    np.testing.assert_array_equal(attached.frozen, anew)
    assert attached.X.flags.writeable and not attached.frozen.flags.writeable


def test_matrices_are_held_without_their_entries():
    X = sp.csr_array(np.eye(3))
    detached = Detached(Thing(X=X, data=X.data[1:]), X)
    anew = sp.csr_array(2 * np.eye(3))
    attached = detached.attach(lambda: anew)
    np.testing.assert_array_equal(attached.X.toarray(), 2 * np.eye(3))
    assert np.shares_memory(attached.data, anew.data)


def test_rows_are_read_only_if_a_step_needs_them():
    calls = []
    X = np.ones((5, 2))

    def read():
        calls.append(1)
        return X

    (part,) = streamed_parts([read], [5])
    part.call(lambda part: part.keep(THING, np.arange(3)))
    assert not calls
    part.call(lambda part: part.keep(THING, Thing(X=part.X)))
    assert len(calls) == 1
    np.testing.assert_array_equal(part.call(lambda part: part.kept(THING).X), X)
    assert part.keeps == {"thing"}
    part.call(lambda part: part.drop(THING))
    assert not part.keeps


def test_what_is_kept_can_be_used_without_the_rows():
    (part,) = streamed_parts([lambda: X.copy()], [5])
    X = np.arange(10.0).reshape(5, 2)
    part.call(lambda part: part.keep(THING, Thing(X=part.X, row=part.X[2], number=0)))

    def count(part):
        thing = part.kept(THING, reads=False)
        thing.number += 1
        return part._X is None and thing.X.shape == (5, 2) and thing.row.dtype == X.dtype

    assert part.call(count) and part.call(count)
    thing = part.call(lambda part: part.kept(THING))
    assert thing.number == 2
    np.testing.assert_array_equal(thing.X, X)
    np.testing.assert_array_equal(thing.row, X[2])


class CountedReads:
    """Readers of blocks of the rows, and how often they were called."""

    def __init__(self, X, n_blocks):
        self.n_read = 0
        self.blocks = np.array_split(X, n_blocks)

    def rows(self):
        parts = streamed_parts(
            [partial(self._read, block) for block in self.blocks], [len(b) for b in self.blocks]
        )
        return StreamedRows(parts, self.blocks[0].shape[1], self.blocks[0].dtype, False)

    def _read(self, block):
        self.n_read += 1
        return block


def test_k_means_plusplus_reads_the_rows_about_once_a_seed():
    reads = CountedReads(np.random.default_rng(0).normal(size=(4000, 3)), 20)
    KMeans(10, random_state=0, max_iter=1).fit(reads.rows())
    # Also for their spread, for an iteration and the last labels; and single blocks for where
    # candidates are, of which there are four for each of nine seeds, each looked for and fetched.
    assert reads.n_read <= (10 + 3) * 20 + 2 * (9 * 4) + 5 * 20


LARGE = {
    "kmeans": lambda: KMeans(15, random_state=0),
    "kmedians": lambda: KMedians(15, random_state=0),
    "mixture": lambda: GaussianMixture(15, covariance_type="diag", random_state=0),
    "mixture of seeds": lambda: GaussianMixture(
        15, covariance_type="diag", init_params="k-means++", random_state=0
    ),
}


@pytest.mark.filterwarnings("ignore:.*did not converge")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("make", LARGE.values(), ids=LARGE)
def test_rows_larger_than_the_memory_start_in_few_passes(make, weighted, monkeypatch):
    X, sample_weight = blobs(), some_weights(weighted)
    monkeypatch.setattr(LocalRows, "outgrow_memory", lambda rows: True)
    monkeypatch.setattr(stream, "memory", lambda: X.nbytes - 1)
    assert_same_bits(make, X, sample_weight)
    reads = CountedReads(X, 10)
    rows = reads.rows()
    model = make().set_params(max_iter=1)
    if not isinstance(model, GaussianMixture):  # its K-means takes as many passes as it likes
        model.fit(rows)
        in_few, reads.n_read = reads.n_read, 0
        model.set_params(init=X[:15]).fit(rows)
        # Three passes, and two times what was drawn is fetched.
        assert in_few <= reads.n_read + 10 * (3 + 2)


def test_a_step_that_fails_leaves_what_was_kept():
    def fail(part):
        part.keep(THING, 2)
        raise ValueError("no")

    (part,) = streamed_parts([lambda: np.ones((5, 2))], [5])
    part.call(lambda part: part.keep(THING, 1))
    with pytest.raises(ValueError, match="no"):
        part.call(fail)
    assert part.call(lambda part: part.kept(THING)) == 1


def test_blocks_that_change_their_length_are_refused():
    rows = StreamedRows(streamed_parts([lambda: np.ones((5, 2))], [6]), 2, np.dtype(float), False)
    with pytest.raises(ValueError, match="Partition 0 has 5 rows, but had 6"):
        KMeans(2).fit(rows)


def test_the_next_block_is_read_meanwhile():
    begun = [threading.Event() for _ in range(3)]

    def reader(number):
        def read():
            begun[number].set()
            return number

        return read

    read = ReadAhead([reader(number) for number in range(3)])
    assert read(0) == 0
    assert begun[1].wait(10) and not begun[2].is_set()
    assert [read(number) for number in (1, 2, 0, 0, 2)] == [1, 2, 0, 0, 2]


def test_an_error_of_reading_ahead_is_raised_in_its_turn():
    def fail():
        raise OSError("disk")

    read = ReadAhead([lambda: 0, fail])
    assert read(0) == 0
    with pytest.raises(OSError, match="disk"):
        read(1)
    assert read(0) == 0
