"""Several trainings next to each other: more patients, or other sentences."""
