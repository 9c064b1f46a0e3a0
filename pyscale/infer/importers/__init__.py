"""Models of other libraries, read without them where their files allow it."""
