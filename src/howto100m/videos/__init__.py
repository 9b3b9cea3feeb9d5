"""Videos: YouTube search, the choice of videos, their media files."""
