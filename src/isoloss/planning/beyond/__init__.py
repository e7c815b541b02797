"""What a plan becomes where something else binds than the compute of training."""
