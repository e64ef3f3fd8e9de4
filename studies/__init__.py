"""What we measured with the experiments: comparisons, figures 4 and 5, and the pages of results."""
