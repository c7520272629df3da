"""Opening a catalog: what is allowed, what fails, and what stays open."""
