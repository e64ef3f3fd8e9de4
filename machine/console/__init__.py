"""What command lines share: progress, one-line errors, graceful stops."""
