"""The words of an experiment's command line, a module each: ``add`` its options, ``run`` it."""
