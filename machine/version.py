"""The version of this software; ``CHANGELOG.md`` says what each one brought, ``CITATION.cff`` repeats it."""

VERSION = "0.4.0"
