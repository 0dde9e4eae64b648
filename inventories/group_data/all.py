"""Data of every host in every inventory of this folder. Never a secret, only references to some.

pyinfra executes each file here on each run, so nothing in here may ask for anything.
"""

# The login user becomes root by sudo. With a password: pyinfra's --use-sudo-password.
_sudo = True

# ~/.ssh/config says what becomes of a host whose SSH key is not known. To refuse it in any case
# (see docs/security.md):
# ssh_strict_host_key_checking = "yes"
