"""What ``python -m fastem`` does: one file for each command."""
