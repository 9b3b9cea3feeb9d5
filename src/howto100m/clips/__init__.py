"""Clips: a video's English track, its clean lines, and clips with captions."""
