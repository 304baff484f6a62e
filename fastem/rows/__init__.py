"""Where rows live: one small interface, a pass over all rows reduced to statistics that add up."""

from fastem.rows.array import array_rows
from fastem.rows.part import LocalRows, Part, Slot, add

__all__ = ["LocalRows", "Part", "Slot", "add", "array_rows"]
