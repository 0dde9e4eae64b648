"""What `python -m tasks` does on the operator's machine: it starts pyinfra and shows its events."""
