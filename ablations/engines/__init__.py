"""Where trials run, and how many at a time; trials that are trained again, to verify records."""
