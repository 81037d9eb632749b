"""Arguments, output and exit codes; the only place that prints."""
