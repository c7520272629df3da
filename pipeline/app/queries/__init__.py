"""What a store is asked: typed rows, tables and arrays; nothing is changed."""
