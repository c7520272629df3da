"""Synthetic radiographs that show findings by their radiographic sign."""
