"""Operations that torch has in a slower make: which of them run, and why not, says ``build.py``."""
