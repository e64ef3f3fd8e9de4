"""What the repository ships of trainings: weights, records, pages and pictures."""
