"""The processes of a run: the queue, the supervisor, the trainer, and what they record.

May import every room but `cli`. The supervisor and the launcher never load torch.
"""
