"""Frozen values: what there is, what is to be done, what was measured and what was decided."""
