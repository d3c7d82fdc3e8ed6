"""Output formats: feature files, rows of predictions, metrics as text."""
