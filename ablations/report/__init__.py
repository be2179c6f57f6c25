"""Charts, page and tables for people."""
