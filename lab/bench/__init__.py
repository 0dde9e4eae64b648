"""How long migrations and re-runs take, beside the guide's commands and Ansible."""
