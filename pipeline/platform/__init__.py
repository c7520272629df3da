"""What the machine and its C runtime need to be told."""
