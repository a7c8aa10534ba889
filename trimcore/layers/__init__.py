"""The two modules that PyTorch lacks: maxout units, and activations that sharpen into ReLU.

It may import `errors`.
"""
