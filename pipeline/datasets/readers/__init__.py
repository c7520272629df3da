"""One file per dataset layout: its tables become a `LabelTable`."""
