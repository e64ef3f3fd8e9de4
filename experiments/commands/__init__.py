"""The subcommands of an experiment, a module each: ``add`` its options, ``run`` it."""
