"""Merged counts of hours and days, and the index of what has been made of them."""
