"""The actions, against a simulated switch, gates and clients."""
