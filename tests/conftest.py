"""Imports lib before any test imports Theano, which lib prepares."""

import lib  # noqa: F401
