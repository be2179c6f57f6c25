"""One trial: how it is trained, what its numbers hang on, how far it is."""
