"""The one trainer, its model and its optimiser."""
