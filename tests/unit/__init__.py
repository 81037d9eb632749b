"""The tests that start no server."""
