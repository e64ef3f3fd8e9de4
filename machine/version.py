"""The version of this software, repeated in ``CHANGELOG.md`` and ``CITATION.cff``."""

VERSION = "0.4.0"
