"""Sentences to clips: the index over a trained embedding, the search in it, the page on top."""
