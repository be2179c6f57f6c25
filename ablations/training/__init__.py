"""How a trial is trained, what its numbers depend on, and how far a study's trials are."""
