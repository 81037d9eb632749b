"""Runs a plan: order, the life of a step, guards, undo and resume."""
