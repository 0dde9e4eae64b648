"""How long migrations, re-runs and cut-overs take, beside the guide's commands and Ansible."""
