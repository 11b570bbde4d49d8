"""What development needs and production does not: the emulator, and a writer of flow logs."""
