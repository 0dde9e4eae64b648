"""How long a re-run on converged hosts takes, next to Ansible and to the bare floor."""
