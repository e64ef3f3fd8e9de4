"""What Theano's setup.py misses since CPython 3.12; on PYTHONPATH while packages are built."""

import configparser
from typing import Any

module: Any = configparser
if not hasattr(module, "SafeConfigParser"):
    module.SafeConfigParser = module.ConfigParser
    module.ConfigParser.readfp = module.ConfigParser.read_file
