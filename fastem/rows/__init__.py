"""Where rows live: one small interface, a pass over all rows reduced to statistics that add up."""

from fastem.rows.array import array_rows
from fastem.rows.collections import home_of
from fastem.rows.home import Rows
from fastem.rows.local import LocalRows
from fastem.rows.mpi import mpi_rows
from fastem.rows.part import Part, Slot, add

__all__ = ["LocalRows", "Part", "Rows", "Slot", "add", "array_rows", "home_of", "mpi_rows"]
