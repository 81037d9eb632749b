"""The verbs: each action is observed, given a target and converged through ports only."""
