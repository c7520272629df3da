"""Images found by a sentence, a file or an image: what is asked, answers, a sheet."""
