"""Bytes on a disk: files that are whole or not there, arrays with a header, pictures."""
