"""Published results (Hu et al. 2016) to compare with. The accuracies are as published and have not been verified."""

# configuration (the trimmed layers' widths), parameters, compression, initial and final top-1 accuracy in percent
LENET5 = [
    ("20-50-500-10", 431_080, 1.00, None, 99.3),
    ("20-41-426-10", 305_213, 1.41, 98.75, 99.29),
    ("20-31-349-10", 193_004, 2.23, 95.34, 99.30),
    ("20-26-293-10", 138_667, 3.11, 88.21, 99.25),
    ("20-24-252-10", 112_094, 3.85, 96.75, 99.26),
]
# The model and data of each table; with other data the accuracies are not comparable.
ON = {("lenet5", "mnist"): LENET5}
