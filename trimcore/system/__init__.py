"""Files, processes and logs of this machine.

It may import `errors`, and never torch.
"""
