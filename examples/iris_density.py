"""Estimate the density of two measurements of irises with Gaussian mixtures.

Mixtures of one to six components are fitted to the lengths and widths of 150 irises' petals, which
know nothing of the species. The picture shows the density of the mixture that the BIC chooses, its
components as ellipses that hold 39 % and 86 % of each, the flowers by their species, and the
criteria.

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

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Ellipse

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
    mixtures = [
        fastem.GaussianMixture(
            k,
            covariance_type=options.covariance_type,
            n_init=20,
            reg_covar=1e-3,
            max_iter=1000,
            random_state=0,
        ).fit(X)
        for k in range(1, 7)
    ]
    print("components   log-likelihood      BIC      ICL   agreement with the species")
    for mixture in mixtures:
        agreement = adjusted_rand_score(iris.target, mixture.predict(X))
        print(
            f"{mixture.n_components:>10} {mixture.score_samples(X).sum():>16.2f} "
            f"{mixture.bic(X):>8.1f} {mixture.icl(X):>8.1f} {agreement:>10.3f}"
        )
    best = min(mixtures, key=lambda mixture: mixture.bic(X))
    print(f"\nThe BIC chooses {best.n_components}:")
    for weight, mean in zip(best.weights_, best.means_, strict=True):
        print(f"  {weight:.1%} about {mean[0]:.2f} x {mean[1]:.2f} cm")

    options.output.mkdir(parents=True, exist_ok=True)
    target = options.output / f"iris-{'sepals' if options.sepals else 'petals'}.png"
    names = [iris.feature_names[column] for column in columns]
    draw(X, iris.target, iris.target_names, names, mixtures, best).savefig(target, dpi=110)
    print(f"wrote {target}")


def draw(X, species, species_names, names, mixtures, best) -> plt.Figure:
    """Return a picture of the density and the criteria."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4.6), width_ratios=[2, 1], layout="constrained"
    )
    margin = 0.15 * np.ptp(X, axis=0)
    low, high = X.min(axis=0) - margin, X.max(axis=0) + margin
    x, y = np.meshgrid(*np.linspace(low, high, 200).T)
    log_density = best.score_samples(np.stack([x.ravel(), y.ravel()], axis=1)).reshape(x.shape)
    levels = log_density.max() - np.arange(8.0, -0.1, -1.0)
    left.contourf(x, y, log_density, levels=levels, cmap="Greys", extend="min")
    for name, marker, number in zip(species_names, "os^", range(3), strict=True):
        own = X[species == number]
        left.scatter(*own.T, s=18, marker=marker, label=name, edgecolor="white", linewidth=0.5)
    for ellipse in ellipses(best):
        left.add_patch(ellipse)
    left.set(
        xlabel=names[0],
        ylabel=names[1],
        xlim=(low[0], high[0]),
        ylim=(low[1], high[1]),
        title="log-density, and the components' 1 and 2 sigma",
    )
    left.legend(loc="upper left")

    numbers = [mixture.n_components for mixture in mixtures]
    for criterion in ("bic", "icl", "aic"):
        values = [getattr(mixture, criterion)(X) for mixture in mixtures]
        right.plot(numbers, values, marker="o", label=criterion.upper())
    right.set(xlabel="components", title="the lower the better")
    right.legend()
    return figure


def ellipses(mixture) -> list[Ellipse]:
    """Return the ellipses of one and two standard deviations of each component."""
    n_components, n_features = mixture.means_.shape
    covariances = np.asarray(mixture.covariances_)
    if mixture.covariance_type in ("diag", "spherical"):
        per_feature = np.broadcast_to(covariances.T, (n_features, n_components)).T
        covariances = per_feature[:, :, np.newaxis] * np.eye(n_features)
    elif mixture.covariance_type in ("tied_diag", "tied_spherical"):
        covariances = covariances * np.eye(n_features)
    covariances = np.broadcast_to(covariances, (n_components, n_features, n_features))
    patches = []
    for mean, covariance in zip(mixture.means_, covariances, strict=True):
        variances, axes = np.linalg.eigh(covariance)
        angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
        for sigma in (1, 2):
            height, width = 2 * sigma * np.sqrt(variances)
            patches.append(Ellipse(mean, width, height, angle=angle, fill=False))
    return patches


if __name__ == "__main__":
    main()
