"""What people read: questions, the rows that answer them, and where they are kept."""
