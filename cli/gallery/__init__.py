"""Pages in a browser on this machine: `retune-cli view`."""
