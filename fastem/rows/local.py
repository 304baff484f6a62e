"""Rows in this process."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from fastem.rows.blocks import dense
from fastem.rows.home import Rows
from fastem.rows.mapped import is_mapped
from fastem.rows.part import Part, fill
from fastem.rows.stream import StreamedRows, streamed_parts

# Values in a block of a file that is read block by block.
_BLOCK_VALUES = 1 << 21


class LocalRows(Rows):
    """Rows in parts of this process.

    Parameters
    ----------
    parts : sequence of Part
        At least one, in the order of their offsets, which begin at 0 and leave no gaps. Empty
        ones are left out.

    Raises
    ------
    ValueError
        If there are none, or a part's offset isn't the number of the rows before it.
    """

    def __init__(self, parts: Sequence[Part]):
        n_before = 0
        for part in parts:
            if part.offset != n_before:
                raise ValueError(
                    f"A part's offset should be the number of the rows in the parts before it: got "
                    f"{part.offset}, expected {n_before}."
                )
            n_before += part.n_rows
        if len(parts) == 0:
            raise ValueError("Rows in parts should have at least one part.")
        self.parts = [part for part in parts if part.n_rows > 0] or list(parts[:1])
        X = self.parts[0].X
        self.n_rows = n_before
        self.n_features = X.shape[1]
        self.n_parts = len(self.parts)
        self.dtype = X.dtype
        self.sparse = not isinstance(X, np.ndarray)
        self.weighted = self.parts[0].sample_weight is not None

    def each(self, step: Callable, *args: Any) -> Iterator[Any]:
        return (part.call(step, *args) for part in self.parts)

    def reduce(self, step: Callable, *args: Any) -> Any:
        """As for all homes; of one part, which is called once for every iteration, at once."""
        if self.n_parts == 1:
            return self.parts[0].call(step, *args)
        return super().reduce(step, *args)

    def collect(self, step: Callable, *args: Any) -> np.ndarray:
        """Per-row results of a step, put together in the rows' order."""
        results = self.map(step, *args)
        return results[0] if len(results) == 1 else np.concatenate(results)

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Rows by their index; of one part at once, as a start of few rows takes many of them."""
        if self.n_parts > 1:
            return super().take(indices)
        return dense(self.parts[0], np.asarray(indices, np.intp))

    def pick(self, indices: np.ndarray) -> Any:
        """As :meth:`take`, but CSR rows as a CSR matrix."""
        if self.n_parts > 1:
            return super().pick(indices)
        return self.parts[0].X[np.asarray(indices, np.intp)]

    def fresh(self, exponent: int = 0) -> "LocalRows":
        return LocalRows([part.fresh(exponent) for part in self.parts])

    def scaled(self, factor: float) -> "LocalRows":
        return self if factor == 1.0 else LocalRows([part.scaled(factor) for part in self.parts])

    def filled(self, values: np.ndarray) -> Rows:
        if not any(is_mapped(part.X) for part in self.parts):
            return LocalRows([part.filled(values) for part in self.parts])
        # A file may be larger than the memory: blocks are filled when they are read.
        weight = [part.sample_weight for part in self.parts if part.sample_weight is not None]
        blocks = [block for part in self.parts for block in _blocks(part.X)]
        return StreamedRows(
            streamed_parts(
                [partial(fill, block, values) for block in blocks],
                [len(block) for block in blocks],
                np.concatenate(weight) if self.weighted else None,
            ),
            self.n_features,
            self.dtype,
            self.sparse,
        )


def _blocks(X):
    """Views of some of the rows, all in turn."""
    step = max(1, _BLOCK_VALUES // X.shape[1])
    return [X[start : start + step] for start in range(0, len(X), step)]
