"""The inertia as a difference: the rows' spread about an origin less that of the clusters."""

# The difference is precise enough, and spares a pass, unless the spread is so many times as large.
MOST_CANCELLED = 100
# While a fit is under way, it is unless the spread is so many times as large.
MOST_CANCELLED_IN_HISTORY = 1e5
# Relative differences of inertias that rounding may make.
ROUNDING = 1e-9
