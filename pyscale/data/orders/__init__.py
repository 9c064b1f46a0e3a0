"""What an epoch consists of (plans), and where in it each sample stands (orders)."""
