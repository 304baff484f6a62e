"""Rows on several machines, by MPI
===================================

A Gaussian mixture of rows that are spread over processes, which each read only their own.

Run it under ``mpiexec -n 2 python examples/mpi_mixture.py``, with any number of ranks.
"""

import argparse
from time import perf_counter

import numpy as np
from mpi4py import MPI

from fastem import GaussianMixture
from fastem.rows import mpi_rows

WEIGHTS = np.array([0.2, 0.3, 0.5])
MEANS = np.array([[0.0, 0.0, 4.0, 0.0], [3.0, -3.0, 0.0, 0.0], [-4.0, 1.0, 1.0, 2.0]])


def read_rows(rank, n_rows):
    """A rank's rows; a pipeline would read the file of this rank."""
    rng = np.random.default_rng(rank)
    labels = rng.choice(len(WEIGHTS), size=n_rows, p=WEIGHTS)
    return MEANS[labels] + rng.normal(size=(n_rows, MEANS.shape[1]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="of the first rank")
    arguments = parser.parse_args()

    comm = MPI.COMM_WORLD
    X = read_rows(comm.rank, arguments.rows // (comm.rank + 1))  # as uneven as files are

    started = perf_counter()
    mixture = GaussianMixture(len(WEIGHTS), random_state=0).fit(mpi_rows(X, comm))
    seconds = perf_counter() - started

    # All ranks have the same mixture now; rows that are here are predicted here.
    counts = comm.gather(np.bincount(mixture.predict(X), minlength=len(WEIGHTS)))
    if comm.rank == 0:
        n_rows = np.sum(counts)
        print(f"{comm.size} ranks, {n_rows:,} rows, {mixture.n_iter_} iterations: {seconds:.2f} s")
        for weight, mean in zip(mixture.weights_, mixture.means_.round(2), strict=True):
            print(f"weight {weight:.3f}, mean {mean}")
        for rank, count in enumerate(counts):
            print(f"rank {rank}: {count} rows in the components")
