"""Local optima left
=================

See where K-means ends from a bad start, and where a search goes on from there.

Four points of a rectangle, which one run divides the wrong way, and blobs on a grid, of which one
run gives some a centre too many and others have to share one.

To run it::

    python examples/local_optimum.py
    python examples/local_optimum.py --side 9 --output grid.png
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np

import fastem

matplotlib.use("Agg")
import matplotlib.pyplot as plt

RECTANGLE = np.array([[0.0, 0.0], [0, 1], [4, 0], [4, 1]])
N_ROWS = 60  # of a blob
SPREAD = 0.12
CENTRE = {"marker": "+", "s": 45, "color": "black", "linewidths": 1.4}


def blobs(side: int, seed: int) -> np.ndarray:
    """Return rows about the points of a grid."""
    points = np.stack(np.meshgrid(range(side), range(side)), axis=-1).reshape(-1, 2)
    rng = np.random.default_rng(seed)
    return np.repeat(points, N_ROWS, axis=0) + SPREAD * rng.normal(size=(N_ROWS * side**2, 2))


def draw(axes, X, model, size) -> None:
    """Draw the rows by cluster, and the centres; neighbours differ in colour but for chance."""
    colours = plt.get_cmap("tab20").colors
    axes.scatter(*X.T, s=size, c=[colours[label % 20] for label in model.labels_], linewidths=0)
    axes.scatter(*model.cluster_centers_.T, **CENTRE)
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.margins(0.12)
    how = "one run" if model.search is None else "with search"
    axes.set_title(f"{how}: inertia {model.inertia_:.4g}", fontsize=10)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=8, help="blobs a side (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=Path("local-optimum.png"))
    options = parser.parse_args(arguments)
    if options.side < 2:
        parser.error(f"a grid has 2 blobs a side at least, not {options.side}")

    X = blobs(options.side, options.seed)
    start = np.array([[2.0, 0.0], [2, 1]])  # in the middle of the long sides
    cases = [
        ("rectangle", RECTANGLE, 90, {"n_clusters": 2, "init": start}),
        ("grid", X, 7, {"n_clusters": options.side**2, "random_state": options.seed}),
    ]
    figure, panels = plt.subplots(
        2, 2, figsize=(8, 6.4), layout="constrained", height_ratios=[1, 2.6]
    )
    for (name, rows, size, parameters), line in zip(cases, panels, strict=True):
        models = [fastem.KMeans(**parameters, search=s).fit(rows) for s in (None, "breathing")]
        for axes, model in zip(line, models, strict=True):
            draw(axes, rows, model, size)
        plain, searched = (model.inertia_ for model in models)
        print(f"{name:9} one run {plain:8.2f}   with search {searched:8.2f}")
    figure.savefig(options.output, dpi=110)
    print(options.output)


if __name__ == "__main__":
    main()
