"""Training: one step, the loop around it, moving statistics, and steps that were not finite."""
