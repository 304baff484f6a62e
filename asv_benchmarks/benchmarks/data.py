"""The data that everything is measured on: made from a seed, the same on every machine."""

import zlib
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

# (rows, features, clusters)
SHAPES = (
    (1_000_000, 2, 8),
    (1_000_000, 3, 64),
    (500_000, 16, 64),
    (300_000, 16, 256),
    (200_000, 64, 100),
    (50_000, 128, 1000),
    (50_000, 784, 10),
)
# Many clusters and features, as of embeddings and codebooks, and how many iterations are timed.
MANY_SHAPES = {
    (50_000, 768, 500): 8,
    (100_000, 384, 1000): 8,
    (200_000, 96, 4096): 8,
    (1_000_000, 64, 10_000): 3,
}
IMAGE_CLUSTERS = (16, 64, 256)
IMAGE_SHAPE = (427 * 640, 3)
# How far apart the nearest cluster centres are, in standard deviations of a cluster: at 8 fewer
# than 1 % of the rows lie nearer another cluster's centre, at 3 between 10 % and 75 %. As a
# mixture's components, more than half of the rows have a share of 1e-13 in a second one at 8, and
# one row in 40 at 12.
GAPS = {"separated": 8.0, "overlapping": 3.0, "distant": 12.0}
KINDS = (*GAPS, "uniform", "image", "embeddings")
EMBEDDING_SOURCES = 200
DTYPES = ("float32", "float64")


class Cell(NamedTuple):
    """One fit to be timed."""

    rows: int
    features: int
    clusters: int
    kind: str
    dtype: str

    @property
    def shape_name(self) -> str:
        """Short name of rows, features and clusters, such as ``500k,16,64``."""
        rows = "image" if self.kind == "image" else short(self.rows)
        return f"{rows},{self.features},{self.clusters}"


def short(count: int) -> str:
    """Return a count as people say it: 1M, 500k, 150."""
    for unit, letter in ((1_000_000, "M"), (1000, "k")):
        if count >= unit and count % unit == 0:
            return f"{count // unit}{letter}"
    return str(count)


def all_cells() -> list[Cell]:
    """Return every cell of the K-means table."""
    cells = [
        Cell(*shape, kind, dtype)
        for shape in SHAPES
        for kind in ("separated", "overlapping", "uniform")
        for dtype in DTYPES
    ]
    cells += [Cell(*IMAGE_SHAPE, k, "image", dtype) for k in IMAGE_CLUSTERS for dtype in DTYPES]
    return cells


def many_cells() -> list[Cell]:
    """Return every cell of the table of many clusters and features."""
    return [Cell(*shape, "embeddings", dtype) for shape in MANY_SHAPES for dtype in DTYPES]


def make_rows(cell: Cell) -> np.ndarray:
    """Return the rows of a cell, C-contiguous.

    float32 rows are the float64 ones rounded. Blobs are normal with unit variance about centres
    drawn from a normal distribution and scaled so that the median distance from a centre to the
    nearest other one is `GAPS[kind]`; every cluster is equally likely. Embeddings are rows of
    norm 1 from 200 normal distributions, with as much noise as signal.
    """
    if cell.kind == "image":
        return image_pixels().astype(cell.dtype)
    seed = zlib.crc32(repr(cell[:4]).encode())
    rng = np.random.default_rng(seed)
    if cell.kind == "uniform":
        return rng.random((cell.rows, cell.features)).astype(cell.dtype, copy=False)
    if cell.kind == "embeddings":
        means = rng.standard_normal((EMBEDDING_SOURCES, cell.features))
        X = rng.standard_normal((cell.rows, cell.features))
        X += means[rng.integers(EMBEDDING_SOURCES, size=cell.rows)]
        X /= np.linalg.norm(X, axis=1)[:, np.newaxis]
        return X.astype(cell.dtype, copy=False)
    centers = rng.standard_normal((cell.clusters, cell.features))
    distances = cdist(centers, centers)
    np.fill_diagonal(distances, np.inf)
    centers *= GAPS[cell.kind] / np.median(distances.min(axis=1))
    X = rng.standard_normal((cell.rows, cell.features))
    X += centers[rng.integers(cell.clusters, size=cell.rows)]
    return X.astype(cell.dtype, copy=False)


def image_pixels() -> np.ndarray:
    """Return the pixels of scikit-learn's china.jpg, one row of red, green, blue each (uint8)."""
    from sklearn.datasets import load_sample_image

    return load_sample_image("china.jpg").reshape(-1, 3)


def starting_centers(X: np.ndarray, n_clusters: int, seed: int = 0) -> np.ndarray:
    """Return `n_clusters` distinct rows of X chosen at random.

    Distinct, because an image repeats its colours, and two equal starting centres leave one
    cluster empty, which every library repairs in its own way. Rows of whole numbers, an image's,
    are moved by less than a half: many pixels would else be equally far from two centres, and
    scikit-learn's Lloyd gives those to either by rounding, which leads it to another answer.
    """
    order = np.random.default_rng(seed).permutation(len(X))
    candidates = X[order[: 20 * n_clusters]]
    _, first = np.unique(candidates, axis=0, return_index=True)
    if len(first) < n_clusters:
        raise ValueError(f"the rows tried hold only {len(first)} distinct values")
    centers = candidates[np.sort(first)[:n_clusters]]
    if np.array_equal(centers, np.rint(centers)):
        shifts = np.random.default_rng(seed + 1).uniform(-0.25, 0.25, centers.shape)
        centers = centers + shifts.astype(centers.dtype)
    return centers
