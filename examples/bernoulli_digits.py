"""Digits found by a Bernoulli mixture
======================================

Find groups of handwritten digits without being told which digits they are.

scikit-learn's 1,797 small pictures of digits are made black and white, and a Bernoulli mixture is
fitted to them: a component is a probability of ink for each pixel. The picture shows these
probabilities, the mean digits, from the most frequent component to the rarest. What the digits
really are is used only afterwards, to name the components.

To run it::

    python examples/bernoulli_digits.py
    python examples/bernoulli_digits.py --components 20 --output digits-20.png
"""

import argparse
import time
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.datasets import load_digits

import fastem
from fastem.plot import CentersDisplay

matplotlib.use("Agg")

INK = 8  # grey levels above, of 16, are ink
SIDE = 8  # pixels of a digit


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--components", type=int, default=10, metavar="N", help="default: %(default)s"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("bernoulli-digits.png"),
        help="the picture (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the starts (default: %(default)s)")
    options = parser.parse_args(arguments)

    digits = load_digits()
    if not 1 <= options.components <= len(digits.data):
        parser.error(f"1 to {len(digits.data)} components, not {options.components}")
    begin = time.perf_counter()
    mixture = fastem.BernoulliMixture(
        options.components, n_init=20, alpha=1.0, binarize=INK, random_state=options.seed
    ).fit(digits.data)
    seconds = time.perf_counter() - begin
    labels = mixture.predict(digits.data)

    order = np.argsort(-mixture.weights_, kind="stable")
    display = CentersDisplay(mixture.probabilities_[order], shape=(SIDE, SIDE), names=[])
    display.plot(cmap="gray_r", vmin=0, vmax=1)
    try:
        # without a format matplotlib writes beside a name that has no suffix
        kind = options.output.suffix[1:] or "png"
        display.figure_.savefig(options.output, format=kind, dpi=100, bbox_inches="tight")
    except (OSError, ValueError) as error:
        parser.error(f"can't write {options.output}: {error}")

    print(f"{len(labels):,} digits, 20 starts, {seconds:.2f} s (compiling at the first run)")
    print(f"mean log-density of a row: {mixture.score(digits.data):.3f}\n")
    print("component  weight  rows  mostly")
    right = 0
    for number, component in enumerate(order, 1):
        counts = np.bincount(digits.target[labels == component], minlength=10)
        right += counts.max()
        share = counts.max() / max(counts.sum(), 1)
        print(
            f"{number:9d}  {mixture.weights_[component]:6.3f}  {counts.sum():4d}"
            f"  {counts.argmax()} ({share:.0%})"
        )
    print(f"\n{right / len(labels):.1%} of the digits are what their component mostly is.")
    print(f"The mean digits are in {options.output}.")


if __name__ == "__main__":
    main()
