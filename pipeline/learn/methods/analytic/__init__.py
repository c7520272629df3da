"""`analytic`: exact ridge heads from sums of images."""
