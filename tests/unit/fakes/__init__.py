"""Fakes with behaviour: time, the journal, judges, and a small world of switches, gates and mail clients."""
