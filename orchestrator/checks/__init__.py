"""Probes (one file each), and the gate that turns their samples into pass, fail or unknown."""
