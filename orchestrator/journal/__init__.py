"""The append-only record of all runs: one file of SQLite on this machine, written before and after every act."""
