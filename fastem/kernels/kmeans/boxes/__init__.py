"""Tiles of neighbouring rows, in boxes that tell which centres can be nearest to any of them."""
