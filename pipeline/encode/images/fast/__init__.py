"""The usual kinds of files in less time, with the same pixels to the last bit."""
