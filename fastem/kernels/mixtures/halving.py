"""How far components' halves are looked for, of one component alone and of many at once."""

#: Towards the direction of greatest correlation.
POWER_ITERATIONS = 5
#: With more features, fourth moments cost too much, and tell little.
MOST_FEATURES = 64
