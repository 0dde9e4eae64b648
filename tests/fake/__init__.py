"""Whole deploys by pyinfra's CLI on its `@fake` connector: order, refusals, and no secret shown."""
