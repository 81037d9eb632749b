"""The engine, told in one-line stories: what happened, in which order."""
