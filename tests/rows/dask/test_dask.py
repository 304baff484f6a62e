"""Dask's collections without a client: their blocks are streamed through this process."""

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from homes import assert_same_fit
from processes import run_script
from sklearn.exceptions import NotFittedError

from fastem import BernoulliMixture, GaussianMixture, KMeans, KMedians
from fastem.rows.dask import dask_rows
from fastem.rows.stream import StreamedRows

LENGTHS = (200, 0, 90, 1, 109)
N_ROWS = sum(LENGTHS)

MODELS = [
    KMeans(3, random_state=0),
    KMedians(3, random_state=0),
    GaussianMixture(2, random_state=0),
    BernoulliMixture(2, random_state=0, binarize=0.0),
]
by_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)


def anew(model):
    return type(model)(**model.get_params())


def blobs(dtype=np.float64):
    rng = np.random.default_rng(6)
    X = rng.normal(size=(N_ROWS, 3)) + 5 * rng.integers(-1, 2, size=(N_ROWS, 1))
    return X.astype(dtype)


def some_weights():
    return np.random.default_rng(7).uniform(size=N_ROWS)


def chunked(X):
    return da.from_array(X, chunks=(LENGTHS, -1))


def frame_of(X, **columns):
    return pd.DataFrame(X, columns=list("abc")).assign(**columns)


@by_model
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_arrays(model, dtype):
    X = blobs(dtype)
    fitted = anew(model).fit(chunked(X))
    rtol = 1e-5 if dtype == np.float32 else 1e-10
    assert_same_fit(fitted, anew(model).fit(X), rtol)


@pytest.mark.parametrize("model", MODELS[2:], ids=lambda model: type(model).__name__)
def test_gaps(model):
    X = blobs()
    X[np.random.default_rng(8).random(X.shape) < 0.1] = np.nan
    model = anew(model).set_params(missing="em")
    expected = anew(model).fit(X)
    assert_same_fit(model.fit(chunked(X)), expected)
    np.testing.assert_array_equal(model.predict(chunked(X)).compute(), expected.predict(X))
    filled = model.impute(chunked(X))
    assert isinstance(filled, da.Array) and filled.chunks[0] == LENGTHS
    np.testing.assert_allclose(filled.compute(), expected.impute(X), rtol=1e-12)


@by_model
@pytest.mark.parametrize("kind", ["array", "collection", "other chunks"])
def test_weights(model, kind):
    weights = some_weights()
    given = {
        "array": weights,
        "collection": da.from_array(weights, chunks=(LENGTHS,)),
        "other chunks": da.from_array(weights, chunks=77),
    }[kind]
    fitted = anew(model).fit(chunked(blobs()), sample_weight=given)
    assert_same_fit(fitted, anew(model).fit(blobs(), sample_weight=weights))


@by_model
def test_data_frames(model):
    frame = frame_of(blobs(), weight=some_weights())
    collection = dd.from_pandas(frame, npartitions=4)
    names = list("abc")
    fitted = anew(model).fit(collection[names], sample_weight=collection["weight"])
    assert_same_fit(fitted, anew(model).fit(frame[names], sample_weight=frame["weight"]))
    assert fitted.feature_names_in_.tolist() == names


def test_columns_of_several_dtypes():
    frame = frame_of(blobs().round()).astype(
        {"a": "float32", "b": "Float64", "c": "int64[pyarrow]"}
    )
    plain = frame.to_numpy(np.float64)
    fitted = KMeans(3, random_state=0).fit(dd.from_pandas(frame, npartitions=3))
    expected = KMeans(3, random_state=0).fit(plain)
    np.testing.assert_allclose(fitted.cluster_centers_, expected.cluster_centers_, rtol=1e-10)
    single = dd.from_pandas(frame.astype("Float32"), npartitions=3)
    assert KMeans(3, random_state=0).fit(single).cluster_centers_.dtype == np.float32


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csr_matrix, sp.csc_array])
@pytest.mark.parametrize("model", [MODELS[0], MODELS[3]], ids=["KMeans", "BernoulliMixture"])
def test_matrices(model, kind):
    X = np.maximum(blobs(), 0.0)
    fitted = anew(model).fit(chunked(X).map_blocks(kind))
    assert_same_fit(fitted, anew(model).fit(sp.csr_array(X)))


def test_blocks_that_cannot_be_written_or_are_not_contiguous():
    def awkward(block):
        block = np.asfortranarray(block)
        block.flags.writeable = False
        return block

    X = blobs()
    array = chunked(X).map_blocks(awkward, meta=np.empty((0, 0)))
    assert_same_fit(KMeans(3, random_state=0).fit(array), KMeans(3, random_state=0).fit(X))
    np.testing.assert_array_equal(X, blobs())


def test_lengths_that_are_not_known():
    array = chunked(blobs())
    array = array[array[:, 0] > 0]
    expected = KMeans(3, random_state=0).fit(blobs()[blobs()[:, 0] > 0])
    assert_same_fit(KMeans(3, random_state=0).fit(array), expected)
    assert np.isnan(array.shape[0])  # as it was


def test_blocks_are_streamed_unless_there_is_a_client():
    assert isinstance(dask_rows(chunked(blobs())), StreamedRows)


@by_model
def test_predictions_are_lazy_and_blockwise(model):
    X = blobs()
    fitted = anew(model).fit(X)
    methods = [
        name
        for name in ("predict", "transform", "predict_proba", "score_samples")
        if hasattr(fitted, name)
    ]
    for name in methods:
        expected = getattr(fitted, name)(X)
        for collection in (chunked(X), dd.from_pandas(pd.DataFrame(X), npartitions=3)):
            lazy = getattr(fitted, name)(collection)
            assert isinstance(lazy, da.Array)
            assert lazy.dtype == expected.dtype and lazy.ndim == expected.ndim
            found = lazy.compute()
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(found, expected, rtol=1e-12)
        assert getattr(fitted, name)(chunked(X)).chunks[0] == LENGTHS
        single = getattr(fitted, name)(chunked(blobs(np.float32)))
        assert single.dtype == single.compute().dtype
        assert single.dtype == getattr(fitted, name)(blobs(np.float32)).dtype


def test_labels_are_a_dask_array_and_predictions_too():
    X = blobs()
    kmeans = KMeans(3, random_state=0)
    labels = kmeans.fit_predict(chunked(X))
    assert isinstance(labels, da.Array) and labels.dtype == np.int32
    np.testing.assert_array_equal(labels.compute(), KMeans(3, random_state=0).fit_predict(X))
    assert isinstance(GaussianMixture(2, random_state=0).fit_predict(chunked(X)), da.Array)


def test_lazy_predictions_are_those_of_the_fit_then():
    X = blobs()
    kmeans = KMeans(3, random_state=0).fit(X)
    expected, lazy = kmeans.predict(X), kmeans.predict(chunked(X))
    kmeans.fit(X[:50] + 100)
    np.testing.assert_array_equal(lazy.compute(), expected)


# What is refused.


@by_model
def test_chunks_along_the_columns(model):
    with pytest.raises(ValueError, match=r"chunked along its columns.*rechunk\(\{1: -1\}\)"):
        anew(model).fit(da.from_array(blobs(), chunks=(100, 2)))


@by_model
def test_values_that_are_not_finite(model):
    X = blobs()
    X[250, 2] = np.inf
    with pytest.raises(ValueError, match=r"infinity.*in row 50 of part 2 \(row 250 of all\)"):
        anew(model).fit(chunked(X))
    weights = some_weights()
    weights[290] = -1
    with pytest.raises(ValueError, match=r"negative.*in row 0 of part 3 \(row 290 of all\)"):
        anew(model).fit(chunked(blobs()), sample_weight=weights)


def test_partitions_of_another_kind():
    array = chunked(blobs())

    def changed(change):
        def change_third(block, block_id):
            return change(block) if block_id[0] == 2 else block

        return array.map_blocks(change_third, meta=np.empty((0, 0)), dtype=float)

    kmeans = KMeans(3, random_state=0)
    with pytest.raises(ValueError, match=r"Partition 2 has shape \(90, 2\).*3 features"):
        kmeans.fit(changed(lambda block: block[:, :2]))
    with pytest.raises(ValueError, match=r"Partition 2 is a sparse matrix.*a dense array"):
        kmeans.fit(changed(sp.csr_array))
    with pytest.raises(ValueError, match="Partition 2: could not convert string"):
        kmeans.fit(changed(lambda block: np.full(block.shape, "a", object)))
    assert not hasattr(kmeans, "cluster_centers_")
    narrower = kmeans.fit(changed(lambda block: block.astype(np.float32)))
    assert narrower.cluster_centers_.dtype == np.float64


def test_too_few_rows():
    array = chunked(blobs())
    KMeans(150, random_state=0, max_iter=2).fit(array)  # more than in some partitions
    with pytest.raises(ValueError, match="n_samples=400 should be >= n_clusters=401"):
        KMeans(401).fit(array)
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        KMeans(2).fit(array[:0])


@pytest.mark.parametrize(
    "collection, words",
    [
        (da.zeros(10), "two dimensions"),
        (da.zeros((10, 2), dtype=complex, chunks=5), "numbers"),
        (da.zeros((10, 0), chunks=(5, 0)), r"0 feature\(s\)"),
        (dd.from_pandas(pd.DataFrame({"a": ["x"]}), npartitions=1), "'a'.*no numbers"),
        (dd.from_pandas(pd.Series([1.0]), npartitions=1), "two dimensions"),
    ],
)
def test_what_are_not_rows_of_numbers(collection, words):
    with pytest.raises(ValueError, match=words):
        KMeans(1).fit(collection)


def test_weights_that_do_not_go_with_the_rows():
    array = chunked(blobs())
    with pytest.raises(ValueError, match=r"sample_weight.shape == \(399,\), expected \(400,\)"):
        KMeans(2).fit(array, sample_weight=np.ones(399))
    with pytest.raises(ValueError, match="1D"):
        KMeans(2).fit(array, sample_weight=da.ones((400, 1)))
    with pytest.raises(ValueError, match="at least one non-zero"):
        KMeans(2).fit(array, sample_weight=np.zeros(400))


def test_predictions_before_a_fit_or_for_other_features():
    with pytest.raises(NotFittedError):
        KMeans(2).predict(chunked(blobs()))
    with pytest.raises(ValueError, match="X has 2 features, but KMeans is expecting 3"):
        KMeans(2).fit(blobs()).predict(chunked(blobs()[:, :2]))
    frame = dd.from_pandas(frame_of(blobs()), npartitions=2)
    with pytest.raises(ValueError, match="feature names should match"):
        KMeans(2).fit(frame[["a", "b"]]).predict(frame[["b", "c"]])


def test_dask_is_not_imported_unless_it_is_used():
    run_script(
        """
        import sys
        import numpy as np
        import fastem

        fastem.KMeans(2).fit(np.eye(4)).predict(np.eye(4))
        assert "dask" not in sys.modules
        """
    )


# More than fits into memory.

LARGE = """
    import resource
    import sys
    import numpy as np
    import dask.array as da
    import dask.dataframe as dd
    from fastem import GaussianMixture, KMeans

    kind, folder = sys.argv[1:]

    def collection(folder):
        if kind == "zarr":
            return da.from_zarr(folder)
        return dd.read_parquet(folder)

    def fit(folder):
        rows = collection(folder)
        kmeans = KMeans(3, random_state=0, max_iter=3).fit(rows)
        mixture = GaussianMixture(
            2, covariance_type="diag", init_params="random_from_data", random_state=0, max_iter=2
        ).fit(rows)
        return kmeans, mixture

    def in_use():
        for line in open("/proc/self/status"):
            if line.startswith("VmData"):
                return int(line.split()[1]) * 1024

    fit(folder + "-small")  # loads and compiles
    n_bytes = 8 * 64 * int(open(folder + "-rows").read())
    resource.setrlimit(resource.RLIMIT_DATA, (in_use() + n_bytes // 4,) * 2)
    try:
        np.ones(n_bytes // 8)
    except MemoryError:
        pass
    else:
        raise AssertionError("there is no limit")
    kmeans, mixture = fit(folder)
    print(kmeans.cluster_centers_.tolist(), mixture.means_.tolist())
"""


@pytest.mark.parametrize("kind", ["parquet", "zarr"])
def test_more_than_fits_into_memory(kind, tmp_path):
    # A quarter of which is twice what threads' stacks and heaps take of the limit, 50 MB.
    X = da.random.default_rng(0).normal(size=(3 << 18, 64), chunks=(1 << 13, 64))
    for name, rows in (("rows", X), ("rows-small", X[: 1 << 14])):
        if kind == "zarr":
            rows.to_zarr(str(tmp_path / name))
        else:
            frame = dd.from_dask_array(rows, columns=[f"x{number}" for number in range(64)])
            frame.to_parquet(tmp_path / name, write_index=False)
    (tmp_path / "rows-rows").write_text(str(len(X)))
    printed = run_script(LARGE, kind, tmp_path / "rows", ARROW_DEFAULT_MEMORY_POOL="system")
    centers, means = (np.array(values) for values in eval(printed.replace("] [", "], [")))
    with dask.config.set(scheduler="sync"):
        expected = KMeans(3, random_state=0, max_iter=3).fit(X.compute())
    np.testing.assert_allclose(centers, expected.cluster_centers_, rtol=1e-8)
    assert means.shape == (2, 64) and np.isfinite(means).all()
