"""Times migrations, re-runs and cut-overs beside the guide's commands and Ansible."""
