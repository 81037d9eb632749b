"""What a run did, for a terminal, for a log and for machines; it formats, and never prints."""
