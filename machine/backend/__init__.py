"""What Theano runs on: its defaults, the BLAS it calls, the threads it uses, the device.

``python -m pixelvae.machine`` prints all of it, for bug reports.
"""
