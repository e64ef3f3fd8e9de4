"""Layers: they declare their parameters when made, and are called on Theano expressions.

Maps are (N, C, H, W); kernels are kept flat, (O, C, kh·kw) in raster order.
"""
