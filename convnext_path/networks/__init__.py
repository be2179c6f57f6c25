"""The networks, each of flags and sizes, and what they are made of."""
