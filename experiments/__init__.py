"""A script for each section of the paper: a model, a data set and a recipe on the command line."""
