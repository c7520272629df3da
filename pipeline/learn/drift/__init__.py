"""Whether groups of images differ from a reference; patients are the unit."""
