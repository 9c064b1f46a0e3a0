"""Single requests, gathered into batches."""
