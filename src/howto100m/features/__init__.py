"""Features: one decode of a video, two networks, pooled pairs."""
