"""What a search does over few rows, in few calls."""
