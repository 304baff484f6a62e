"""A directory of Parquet files, by Dask
=====================================

Rows of more files than one likes to load, clustered where they are.

Writes some files of sensor readings, finds the groups with K-means and a Gaussian mixture, and
writes each row's group and log-density beside them. With --workers, the files are read once by so
many processes, which keep their rows; without, they are streamed through this process in each pass,
a block at a time. Either way the answer is the same.

    python examples/dask_parquet.py
    python examples/dask_parquet.py --rows 20_000_000 --files 100 --workers 4 --folder /scratch/x
"""

import argparse
import tempfile
from contextlib import nullcontext
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
from distributed import Client, LocalCluster

from fastem import GaussianMixture, KMeans

NAMES = ["temperature", "pressure", "flow", "power"]
GROUPS = np.array([[20.0, 1.0, 3.0, 50.0], [22, 1.4, 5, 80], [60, 3.0, 1, 20], [58, 2.5, 6, 95]])
SPREAD = np.array([2.0, 0.1, 0.5, 6.0])


def write_readings(folder: Path, n_rows: int, n_files: int) -> None:
    """Write files of readings, each from a random generator of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, size in enumerate(np.diff(np.linspace(0, n_rows, n_files + 1).astype(int))):
        rng = np.random.default_rng(number)
        rows = rng.normal(GROUPS[rng.integers(len(GROUPS), size=size)], SPREAD)
        frame = pd.DataFrame(rows, columns=NAMES)
        frame.to_parquet(folder / f"part-{number:04}.parquet", index=False)


def report(readings: dd.DataFrame, output: Path, kept: bool) -> None:
    """Fit, print what was found, and write each row's group and log-density."""
    scaled = readings / SPREAD
    kmeans = KMeans(len(GROUPS), random_state=0).fit(scaled)
    print(f"K-means: {kmeans.n_iter_} iterations, inertia {kmeans.inertia_:.1f}")
    mixture = GaussianMixture(len(GROUPS), random_state=0).fit(scaled)
    print(f"mixture: {mixture.n_iter_} iterations, log-likelihood {mixture.lower_bound_:.4f} a row")
    print("\n" + " ".join(f"{name:>12}" for name in [*NAMES, "share"]))
    for row in sorted(np.column_stack([mixture.means_ * SPREAD, mixture.weights_]).tolist()):
        print(" ".join(f"{value:12.3f}" for value in row))
    # Nothing is computed until the files are written, block by block.
    result = readings.assign(
        group=mixture.predict(scaled), log_density=mixture.score_samples(scaled)
    )
    result.to_parquet(output, write_index=False)
    print(
        f"\nEach row's group and log-density {'are' if kept else 'were for a moment'} in {output}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--workers", type=int, default=0, help="processes; none: in this one")
    parser.add_argument("--folder", type=Path, help="where to write, by default for a moment")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        write_readings(folder / "readings", arguments.rows, arguments.files)
        readings = dd.read_parquet(folder / "readings")
        if arguments.workers:
            cluster = LocalCluster(n_workers=arguments.workers, dashboard_address=None)
        else:
            cluster = nullcontext()
        with cluster, Client(cluster) if arguments.workers else nullcontext():
            report(readings, folder / "groups", kept=arguments.folder is not None)


if __name__ == "__main__":
    main()
