"""Tasks: WikiHow's titles, and which of them can be seen on video."""
