"""What stands on PYTHONPATH while packages older than wheels are built."""
