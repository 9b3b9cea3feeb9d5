"""HowTo100M from nothing: tasks, videos, clips, features and the text-video embedding."""
