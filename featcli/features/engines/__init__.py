"""What runs the model: one engine today, plain torch."""
