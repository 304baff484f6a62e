"""Iterations with matrices of the components' own, whose M-steps are compiled."""
