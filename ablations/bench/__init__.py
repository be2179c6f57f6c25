"""python -m ablations bench: networks beside those of other packages, and a trial beside a bare loop, in seconds."""
