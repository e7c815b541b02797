"""One budget, one plan: what to train by a law, by draws of it, and by Kaplan's tables."""
