"""What a run will do to each host, as a document that can be shown, kept and approved."""
