"""Measurements that failed: K-medians beside K-means
=====================================================

Cluster positions of which some are wrong by far: K-medians beside K-means.

Five places are measured 400 times each, and one measurement in twenty has failed: its error is a
hundred times as large, in one coordinate. A mean follows such rows, a median hardly does. Both
start from the same five rows, one of each place. The picture shows where their centres end.

To run it::

    python examples/kmedians_outliers.py
    python examples/kmedians_outliers.py --failures 0.1 --output outliers.png
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np

import fastem

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PLACES = np.array([[0.0, 0.0], [7, 1], [3, 6], [10, 7], [-4, 7]])
N_ROWS = 400  # of a place
FRAME = np.array([[-12.0, -8.0], [45, 40]])  # least and greatest coordinates of the picture
CENTRE = {"marker": "+", "s": 90, "color": "black", "linewidths": 2}
PLACE = {"marker": "o", "s": 120, "facecolors": "none", "edgecolors": "0.2"}
FAILED = {"marker": "x", "s": 18, "color": "0.55", "linewidths": 0.8}


def measurements(failures: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and which of them have failed."""
    rng = np.random.default_rng(seed)
    X = np.repeat(PLACES, N_ROWS, axis=0) + rng.normal(size=(N_ROWS * len(PLACES), 2))
    failed = rng.uniform(size=len(X)) < failures
    failed[::N_ROWS] = False  # the starts
    coordinate = rng.integers(2, size=failed.sum())
    X[failed, coordinate] += 100 * np.abs(rng.normal(size=failed.sum()))
    return X, failed


def errors(centers: np.ndarray) -> np.ndarray:
    """Return each place's distance from the nearest centre."""
    return np.linalg.norm(PLACES[:, np.newaxis] - centers, axis=2).min(axis=1)


def draw(axes, X, failed, model) -> None:
    """Draw the measurements by cluster, those that failed as small crosses, and the centres."""
    colours = plt.get_cmap("tab10").colors
    for label in range(len(PLACES)):
        own = (model.labels_ == label) & ~failed
        axes.scatter(*X[own].T, s=4, color=colours[label], linewidths=0, alpha=0.6)
    axes.scatter(*X[failed].T, **FAILED)
    axes.scatter(*PLACES.T, **PLACE)
    axes.scatter(*model.cluster_centers_.T, **CENTRE)
    for center in model.cluster_centers_:
        point_to(axes, center)
    name = {"KMeans": "K-means", "KMedians": "K-medians"}[type(model).__name__]
    error = errors(model.cluster_centers_)
    axes.set_title(f"{name}: off by {error.mean():.2g} on average", fontsize=11)
    axes.set(xlim=(FRAME[0][0], FRAME[1][0]), ylim=(FRAME[0][1], FRAME[1][1]), aspect="equal")


def point_to(axes, center) -> None:
    """Point from the edge to a centre that lies outside the frame."""
    edge = np.clip(center, FRAME[0] + 1, FRAME[1] - 1)
    if (edge == center).all():
        return
    away = np.sign(center - edge)
    axes.annotate(
        f"centre at ({center[0]:.0f}, {center[1]:.0f})",
        xy=edge,
        xytext=edge - np.where(away, 8 * away, 0),
        ha="center" if away[0] == 0 else "right" if away[0] > 0 else "left",
        va="center",
        fontsize=8,
        arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 1.5},
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--failures", type=float, default=0.05, metavar="P", help="share (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=Path("kmedians-outliers.png"))
    options = parser.parse_args(arguments)
    if not 0 <= options.failures < 1:
        parser.error(f"a share is at least 0 and less than 1, not {options.failures}")

    X, failed = measurements(options.failures, options.seed)
    start = X[::N_ROWS]
    models = [cls(len(PLACES), init=start).fit(X) for cls in (fastem.KMeans, fastem.KMedians)]
    print(f"{failed.sum()} of {len(X)} measurements have failed")
    for model in models:
        listed = "  ".join(f"{error:5.2f}" for error in errors(model.cluster_centers_))
        print(f"{type(model).__name__:9} misses the places by  {listed}")

    figure, axes = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained", sharey=True)
    for panel, model in zip(axes, models, strict=True):
        draw(panel, X, failed, model)
    outside = ((X[failed] < FRAME[0]) | (X[failed] > FRAME[1])).any(axis=1).sum()
    marks = {
        "centre of a cluster": CENTRE,
        "true place": PLACE,
        f"failed measurement ({outside} more outside)": FAILED,
    }
    handles = [axes[0].scatter([], [], label=label, **mark) for label, mark in marks.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(options.output, dpi=110)
    print(options.output)


if __name__ == "__main__":
    main()
