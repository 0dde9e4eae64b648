"""`python -m tasks`: starts pyinfra, shows what each host is at, and ends with one exit code."""
