"""What runs on a host, as root, in the host's own Python (3.6 or newer, standard library only)."""
