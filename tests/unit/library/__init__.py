"""The runbooks that ship, from file to run, and the page that teaches their language."""
