"""What Theano runs on: its defaults, the BLAS it calls, the threads it uses, the device.

``python -m lib.backend`` prints all of it, for bug reports.
"""
