"""Pictures of DICOM files: pixels and their display, and nothing of whom they show."""
