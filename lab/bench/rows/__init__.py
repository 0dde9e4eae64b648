"""The rows of the bench: a module for each, with its limits."""
