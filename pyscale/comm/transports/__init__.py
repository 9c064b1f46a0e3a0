"""How bytes move: each transport does the same collectives, on C-contiguous arrays checked before."""
