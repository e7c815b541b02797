"""What one training run is made of: batches, gradients, updates, and states it can go on from."""
