"""What the bench can measure: a module for each row, with its limits."""
