"""Reports: golden texts of runs that are told entry by entry."""
