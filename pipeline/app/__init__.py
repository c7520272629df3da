"""What every skin calls: typed requests in, typed results out; nothing is printed."""
