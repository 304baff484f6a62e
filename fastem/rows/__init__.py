"""Where rows live: one small interface, a pass over all rows reduced to statistics that add up."""

from fastem.rows.array import array_rows
from fastem.rows.part import LocalRows, Part, add

__all__ = ["LocalRows", "Part", "add", "array_rows"]
