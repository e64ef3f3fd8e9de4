"""Several trainings of an experiment, one after another or side by side, compared."""
