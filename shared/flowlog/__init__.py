"""The input, pure: blob names, records, tuples."""
