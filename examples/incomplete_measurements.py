"""Gaps in measurements, filled in
==================================

Fill gaps in real measurements, and see how near the truth it comes.

Ten measurements of cell nuclei from 569 biopsies are known in full. Some are taken away at random,
a Gaussian mixture is fitted to what is left, and fills in the rest. The error is beside that of the
columns' means, in standard deviations of the columns. From several fillings drawn at random instead
the uncertainty of a mean follows: the means of two columns, and how far they vary.

To run it::

    python examples/incomplete_measurements.py
    python examples/incomplete_measurements.py --components 4 --output gaps
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.datasets import load_breast_cancer

import fastem

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
PICTURED = 0.3


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--components", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument(
        "--output", type=Path, default=Path("gaps"), help="folder (default: %(default)s)"
    )
    options = parser.parse_args(arguments)

    cancer = load_breast_cancer()
    X = np.log(cancer.data[:, :10] + 0.01)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    names = [name.removeprefix("mean ") for name in cancer.feature_names[:10]]

    print("missing   column means   one Gaussian   mixture   (errors in standard deviations)")
    errors = []
    for share in SHARES:
        holes = with_gaps(X, share)
        missing = np.isnan(holes)
        means = np.where(missing, np.nanmean(holes, axis=0), holes)
        filled = [means, *(fit(holes, k).impute(holes) for k in (1, options.components))]
        errors.append([np.sqrt(((one - X)[missing] ** 2).mean()) for one in filled])
        print(f"{share:>7.0%} {errors[-1][0]:>14.3f} {errors[-1][1]:>14.3f} {errors[-1][2]:>9.3f}")

    holes = with_gaps(X, PICTURED)
    mixture = fit(holes, options.components)
    print(f"\nWith {PICTURED:.0%} missing, from 20 fillings drawn at random:")
    drawn = [mixture.impute(holes, draw=True, random_state=seed) for seed in range(20)]
    for column in (0, 5):
        estimates = [one[:, column].mean() for one in drawn]
        print(
            f"  mean {names[column]}: {np.mean(estimates):+.3f}, varying by "
            f"{np.std(estimates):.3f} (truly {X[:, column].mean():+.3f})"
        )

    options.output.mkdir(parents=True, exist_ok=True)
    target = options.output / "incomplete-measurements.png"
    draw(X, holes, mixture, names, errors).savefig(target, dpi=110)
    print(f"wrote {target}")


def with_gaps(X, share) -> np.ndarray:
    """Return the rows with this share of their entries taken away."""
    holes = X.copy()
    holes[np.random.default_rng(0).random(X.shape) < share] = np.nan
    return holes


def fit(X, n_components) -> fastem.GaussianMixture:
    """Return a mixture of incomplete rows."""
    mixture = fastem.GaussianMixture(
        n_components, missing="em", reg_covar=1e-3, max_iter=1000, random_state=0
    )
    return mixture.fit(X)


def draw(X, holes, mixture, names, errors) -> plt.Figure:
    """Return a picture of the errors, and of one column's values with what was filled in."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for values, label in zip(
        np.transpose(errors),
        ("column means", "one Gaussian", f"{mixture.n_components} components"),
        strict=True,
    ):
        left.plot(100 * np.array(SHARES), values, marker="o", label=label)
    left.set(
        xlabel="entries taken away in %",
        ylabel="error in standard deviations",
        title="how far what is filled in is from the truth",
        ylim=(0, None),
    )
    left.legend()

    horizontal, vertical = 5, 6  # compactness and concavity
    gaps = np.isnan(holes[:, vertical])
    filled = mixture.impute(holes)
    means = np.full(gaps.sum(), np.nanmean(holes[:, vertical]))
    x = X[gaps, horizontal]
    right.scatter(*X[~gaps][:, [horizontal, vertical]].T, s=8, color="0.8", label="observed")
    right.scatter(x, X[gaps, vertical], s=16, color="0.2", marker="x", label="taken away")
    right.scatter(x, means, s=8, color="tab:blue", label="filled by the mean")
    right.scatter(x, filled[gaps, vertical], s=12, color="tab:green", label="filled by the mixture")
    right.set(
        xlabel=f"{names[horizontal]} (log, standardised)",
        ylabel=f"{names[vertical]} (log, standardised)",
        title=f"{PICTURED:.0%} taken away",
    )
    right.legend()
    return figure


if __name__ == "__main__":
    main()
