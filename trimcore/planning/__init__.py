"""Plan a cut: rules applied to scores, targets, previews, and the sensitivity of each layer.

May import `evaluation`, `surgery`, `scoring`, `spec`, `models`, `graph`, `compute`, `system` and `errors`.
"""
