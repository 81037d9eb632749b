"""A process that is killed, and a disk that fails, at every point where that can happen."""
