"""What a run will do to a host: foreseen, shown, kept, approved and compared."""
