"""Drawing seeds greedily: distances to candidates, and what each would gain."""
