"""The migration: data, facts and operations, one module for each step of deploy.py."""
