"""`retune-cli describe` and its subcommands."""
