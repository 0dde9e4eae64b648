"""The steps of the migration and of the way back: one operation for each section of the guide."""
