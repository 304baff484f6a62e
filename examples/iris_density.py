"""The density of irises
========================

Estimate the density of two measurements of irises with Gaussian mixtures.

Mixtures of one to six components are fitted to the lengths and widths of 150 irises' petals, which
know nothing of the species. The picture shows the density of the mixture that the BIC chooses, its
components as ellipses that hold 90 % of each, the flowers by their species, and the criteria.

To run it::

    python examples/iris_density.py
    python examples/iris_density.py --sepals --covariance-type tied --output density
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.datasets import load_iris
from sklearn.metrics import adjusted_rand_score

import fastem
from fastem.plot import CriterionDisplay, MixtureDisplay

matplotlib.use("Agg")
import matplotlib.pyplot as plt

TYPES = ("full", "tied", "diag", "spherical", "tied_diag", "tied_spherical")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sepals", action="store_true", help="measure sepals instead of petals")
    parser.add_argument(
        "--covariance-type", choices=TYPES, default="full", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("density"), help="folder (default: %(default)s)"
    )
    options = parser.parse_args(arguments)

    iris = load_iris()
    columns = [0, 1] if options.sepals else [2, 3]
    X = iris.data[:, columns]
    mixture = fastem.GaussianMixture(
        covariance_type=options.covariance_type,
        n_init=20,
        reg_covar=1e-3,
        max_iter=1000,
        random_state=0,
    )
    # Measurements are rounded: from better starts components end on single lines of equal values.
    grid = {"n_components": range(1, 7), "init_params": ["kmeans"]}
    search = fastem.CriterionSearch(mixture, grid).fit(X)
    best, results = search.best_estimator_, search.results_
    print("components   log-likelihood      BIC      ICL")
    for row in zip(
        *(results[name] for name in ("param_n_components", "log_likelihood", "bic", "icl")),
        strict=True,
    ):
        print("{:>10} {:>16.2f} {:>8.1f} {:>8.1f}".format(*row))
    agreement = adjusted_rand_score(iris.target, best.predict(X))
    print(f"\nThe BIC chooses {best.n_components}: agreement with the species {agreement:.3f}")
    for weight, mean in zip(best.weights_, best.means_, strict=True):
        print(f"  {weight:.1%} about {mean[0]:.2f} x {mean[1]:.2f} cm")

    options.output.mkdir(parents=True, exist_ok=True)
    target = options.output / f"iris-{'sepals' if options.sepals else 'petals'}.png"
    names = [iris.feature_names[column] for column in columns]
    draw(search, X, iris, names).savefig(target, dpi=110)
    print(f"wrote {target}")


def draw(search, X, iris, names) -> plt.Figure:
    """Return a picture of the density and the criteria."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4.6), width_ratios=[2, 1], layout="constrained"
    )
    margin = 0.15 * np.ptp(X, axis=0)
    low, high = X.min(axis=0) - margin, X.max(axis=0) + margin
    x, y = np.meshgrid(*np.linspace(low, high, 200).T)
    grid = np.stack([x.ravel(), y.ravel()], axis=1)
    log_density = search.score_samples(grid).reshape(x.shape)
    levels = log_density.max() - np.arange(8.0, -0.1, -1.0)
    left.contourf(x, y, log_density, levels=levels, cmap="Greys", extend="min")
    # A species has the colour of the component that most of it is in.
    labels = search.predict(X)
    colours = np.array([f"C{np.bincount(labels[iris.target == k]).argmax()}" for k in range(3)])
    rows = {"c": colours[iris.target], "alpha": 1, "s": 18, "edgecolor": "white", "linewidths": 0.5}
    MixtureDisplay.from_estimator(search.best_estimator_, X, ax=left, rows_kw=rows)
    for species, colour in zip(iris.target_names, colours, strict=True):
        left.scatter([], [], color=colour, label=species)
    left.set(
        xlabel=names[0],
        ylabel=names[1],
        xlim=(low[0], high[0]),
        ylim=(low[1], high[1]),
        title="log-density, and ellipses that hold 90 % of a component",
    )
    left.legend(loc="upper left")

    CriterionDisplay.from_estimator(search, ax=right, label="BIC")
    for criterion in ("icl", "aic"):
        values = search.results_[criterion]
        right.plot(search.results_["param_n_components"], values, ".-", label=criterion.upper())
    right.set(ylabel="", title="the lower the better")
    right.legend()
    return figure


if __name__ == "__main__":
    main()
