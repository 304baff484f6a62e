"""Passes that leave out components which are negligible for a tile of rows."""
