"""What the size of a batch does: any task trained at any batch and rate, and what that shows."""
