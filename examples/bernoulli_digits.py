"""Find groups of handwritten digits without being told which digits they are.

scikit-learn's 1,797 small pictures of digits are made black and white, and a Bernoulli mixture is
fitted to them: a component is a probability of ink for each pixel. The picture shows these
probabilities, the mean digits, from the most frequent component to the rarest. What the digits
really are is used only afterwards, to name the components.

    python examples/bernoulli_digits.py
    python examples/bernoulli_digits.py --components 20 --output digits-20.png
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import fastem

INK = 8  # grey levels above, of 16, are ink
SIDE = 8  # pixels of a digit
SCALE = 12  # of a pixel in the picture
MARGIN = 12


def main(arguments: list[str] | None = None) -> int:
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
    try:
        picture(mixture.probabilities_[order]).save(options.output)
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
    return 0


def picture(probabilities: np.ndarray) -> Image.Image:
    """Return the mean digits side by side, five in a row: black is a probability of one."""
    columns = min(5, len(probabilities))
    rows = -(-len(probabilities) // columns)
    cell = SIDE * SCALE + MARGIN
    canvas = np.full((rows * cell + MARGIN, columns * cell + MARGIN), 255, np.uint8)
    for i, digit in enumerate(probabilities):
        top = MARGIN + i // columns * cell
        left = MARGIN + i % columns * cell
        grey = np.rint(255 * (1 - digit.reshape(SIDE, SIDE))).astype(np.uint8)
        canvas[top : top + SIDE * SCALE, left : left + SIDE * SCALE] = grey.repeat(
            SCALE, axis=0
        ).repeat(SCALE, axis=1)
    return Image.fromarray(canvas)


if __name__ == "__main__":
    sys.exit(main())
