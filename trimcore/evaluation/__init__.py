"""What a network is worth: accuracy, time, verification, and what a single neuron does.

It may import `surgery`, `scoring`, `data`, `graph`, `compute` and `errors`.
"""
