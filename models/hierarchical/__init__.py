"""The models for larger images (sections 3.1, 4.2 and 4.3): the layers and sizes of table E.2."""
