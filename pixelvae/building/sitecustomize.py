"""What Theano's setup.py misses since CPython 3.12; on PYTHONPATH while packages are built."""

import configparser

if not hasattr(configparser, "SafeConfigParser"):
    configparser.SafeConfigParser = configparser.ConfigParser  # type: ignore[attr-defined]
    configparser.ConfigParser.readfp = configparser.ConfigParser.read_file  # type: ignore[attr-defined]
