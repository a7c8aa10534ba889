"""The processes of a run: the queue, the supervisor, the trainer, and what they record.

It may import every room but `cli`. The supervisor and the launcher load no torch.
"""
