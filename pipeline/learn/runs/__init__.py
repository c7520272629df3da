"""One run: learned, evaluated, recorded, read back."""
