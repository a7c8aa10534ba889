"""Two modules that PyTorch lacks: maxout units, and activations that sharpen into ReLU.

May import `errors`.
"""
