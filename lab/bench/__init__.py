"""Times migrations and re-runs beside the guide's commands and Ansible."""
