"""Rows that keep lists of the centres near them: the pass, its scores, and the least of them."""
