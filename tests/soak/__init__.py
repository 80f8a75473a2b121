"""Minutes of mixed traffic with faults at random moments, and the account of what became of all of it."""
