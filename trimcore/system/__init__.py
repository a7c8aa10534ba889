"""Files, images, processes and logs of this machine.

May import `errors`, never torch.
"""
