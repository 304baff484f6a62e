"""No kernel touches memory behind its arrays: here the next page may not be accessed."""

from processes import run_script

SCRIPT = """
    import ctypes
    import mmap
    import sys
    import numpy as np
    import scipy.sparse as sp
    from fastem.kernels import cluster_medians, kmedians, manhattan, nearest, squared_euclidean
    from fastem.kernels.bernoulli import DensePass, BernoulliComponents, SparsePass
    from fastem.kernels.clusters import Frame
    from fastem.kernels.kmeans import ALGORITHMS
    from fastem.kernels.kmeans.sparse import Sparse

    PAGE = max(mmap.PAGESIZE, mmap.ALLOCATIONGRANULARITY)
    kept = []

    def at_page_end(array):
        array = np.ascontiguousarray(array)
        size = -(-max(array.nbytes, 1) // PAGE) * PAGE
        memory = mmap.mmap(-1, size + PAGE)
        kept.append(memory)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + size
        if sys.platform == "win32":
            old = ctypes.c_ulong()
            protect = ctypes.windll.kernel32.VirtualProtect
            done = protect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE), 1, ctypes.byref(old))
            assert done
        else:
            protect = ctypes.CDLL(None).mprotect
            assert protect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE), 0) == 0
        copy = np.frombuffer(memory, array.dtype, array.size, size - array.nbytes)
        copy = copy.reshape(array.shape)
        copy[...] = array
        return copy

    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        for n_rows, n_features in [
            (1, 1), (3, 2), (64, 1), (64, 2), (64, 3), (64, 4), (65, 5), (130, 7), (63, 15),
            (64, 16), (9, 17), (70, 33), (2, 65),
        ]:
            X = at_page_end(rng.normal(size=(n_rows, n_features)).astype(dtype))
            Y = at_page_end(rng.normal(size=(7, n_features)).astype(dtype))
            for function in (squared_euclidean, manhattan, nearest):
                function(X, Y)
                function(Y, X)
            weights = at_page_end(rng.uniform(size=n_rows))
            labels = at_page_end(rng.integers(3, size=n_rows))
            cluster_medians(X, labels, 3)
            cluster_medians(X, labels, 3, weights)
            for algorithm in kmedians.ALGORITHMS.values():
                tested = algorithm(X, None, 7, Frame(np.zeros(n_features), 1.0))
                for _ in range(4):
                    tested.assign(at_page_end(rng.normal(size=(7, n_features))))
            for algorithm in (*ALGORITHMS.values(), Sparse):
                rows = X
                if algorithm is Sparse:
                    rows = sp.csr_array(X)
                    for name in ("data", "indices", "indptr"):
                        setattr(rows, name, at_page_end(getattr(rows, name)))
                tested = algorithm(rows, weights, 7, Frame(np.zeros(n_features), 1.0))
                for name, value in vars(tested).items():
                    if isinstance(value, np.ndarray) and value.flags.writeable:
                        setattr(tested, name, at_page_end(value))
                for _ in range(4):
                    centers = at_page_end(rng.normal(size=(7, n_features)))
                    tested.assign(centers)
                    tested.inertia(centers)
    for n_rows, n_features in [(1, 1), (3, 9), (64, 32), (65, 40), (130, 65), (700, 200)]:
        X = rng.random((n_rows, n_features)) < 0.4
        probabilities = rng.random((9, n_features))
        parameters = BernoulliComponents.of(np.full(9, 1 / 9), probabilities)
        weights = at_page_end(rng.uniform(size=n_rows))
        rows = sp.csr_array(X)
        rows = at_page_end(rows.indices), at_page_end(rows.indptr.astype(np.int64))
        bits = at_page_end(np.packbits(X, axis=1, bitorder="little"))
        for tested in (
            DensePass(bits, n_features, weights, 9), SparsePass(rows, n_features, weights, 9)
        ):
            tested.e_step(parameters)
            tested.evaluate(
                parameters,
                log_density=at_page_end(np.empty(n_rows)),
                labels=at_page_end(np.empty(n_rows, np.int64)),
                responsibilities=at_page_end(np.empty((n_rows, 9))),
                log_joint=at_page_end(np.empty((n_rows, 9))),
            )
    sys.stdout.write("done")
    sys.stdout.flush()
"""


def test_nothing_behind_an_array_is_touched():
    assert run_script(SCRIPT) == "done"
