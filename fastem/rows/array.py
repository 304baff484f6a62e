"""Rows in one array, a memory-mapped file or a CSR matrix."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from fastem.rows.local import LocalRows
from fastem.rows.part import Part, is_mapped


def array_rows(X: Any, sample_weight: np.ndarray | None = None) -> LocalRows:
    """Rows of one array, in one part and without a copy.

    Parameters
    ----------
    X : ndarray, memmap or CSR matrix of shape (n_rows, n_features), float32 or float64
        Dense rows are C-contiguous. A memory-mapped file is read in place.
    sample_weight : None or ndarray of shape (n_rows,), float64

    Returns
    -------
    LocalRows
    """
    if isinstance(X, np.ndarray):
        X = np.asarray(X)
    return LocalRows([Part(X, sample_weight)])


def outgrows_memory(part: Any) -> bool:
    """Whether a part's rows are a file mapped into memory that is larger than the memory."""
    return part.in_memory and is_mapped(part.X) and bool(part.X.nbytes > _memory())


# A container's limit, where there is one.
_LIMIT = Path("/sys/fs/cgroup/memory.max")


def _memory():
    """Bytes of memory that this process may use at most; what others use doesn't count."""
    memory = float("inf")
    if hasattr(os, "sysconf") and {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= os.sysconf_names.keys():
        memory = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    if _LIMIT.exists():
        limit = _LIMIT.read_text().strip()
        memory = memory if limit == "max" else min(memory, float(limit))
    return memory
