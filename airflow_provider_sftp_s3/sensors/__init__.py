"""What waits: for objects to push, and for a partner who has not taken what came before."""
