"""Where encoding happens: in this process, or on the workers of a cluster."""
