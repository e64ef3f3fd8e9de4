"""The models for binary images (section 4.1): table 1, and the layers of table E.1."""
