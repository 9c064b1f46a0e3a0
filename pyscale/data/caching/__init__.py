"""Results that are kept, and the fingerprints by which they are found."""
