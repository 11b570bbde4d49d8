"""The counting, pure: measures, heavy hitters, the counts of an hour."""
