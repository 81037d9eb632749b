"""Checks against a world of fakes, on a clock that costs no time."""
