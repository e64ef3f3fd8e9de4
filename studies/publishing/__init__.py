"""What the repository ships of trainings: weights, records, and the pages and pictures made from records."""
