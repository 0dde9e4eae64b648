"""Data of every host in every inventory of this folder. Never a secret, only references to some.

pyinfra executes each file here on each run, so nothing in here may ask for anything.
"""

# The login user becomes root by sudo. With a password: pyinfra's --use-sudo-password.
_sudo = True

# pyinfra stores the SSH key of a host that it does not know. To refuse such a host instead (see
# docs/security.md):
# ssh_strict_host_key_checking = "yes"
