"""What the gallery shows: the questions that its pages ask, and their answers."""
