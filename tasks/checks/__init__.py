"""Why a host is refused, what to note of it, and what is wrong with it: pure functions."""
