"""What a run says while it works and leaves behind: events, a record per host."""
