"""What waits for objects to push."""
