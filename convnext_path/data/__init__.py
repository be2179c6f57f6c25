"""Images from where they lie to batches ready for a network."""
