"""The truth: one entry per blob, its offset and its counts together."""
