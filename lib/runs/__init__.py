"""A run's folder: settings, metrics, checkpoints, weights, event files."""
