"""What is typed: python -m ablations WORD."""
