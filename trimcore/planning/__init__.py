"""Which neurons go: rules applied to scores, targets, previews, and how much each layer can lose.

It may import `evaluation`, `surgery`, `scoring`, `spec`, `models`, `graph`, `compute`, `system` and `errors`.
"""
