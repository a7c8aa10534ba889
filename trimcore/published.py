"""Figures of the paper (Hu et al. 2016), to set results against. Accuracies are as published and were not verified."""

# configuration (the trimmed layers' widths), parameters, compression, initial and final top-1 accuracy in per cent
LENET5 = [
    ("20-50-500-10", 431_080, 1.00, None, 99.3),
    ("20-41-426-10", 305_213, 1.41, 98.75, 99.29),
    ("20-31-349-10", 193_004, 2.23, 95.34, 99.30),
    ("20-26-293-10", 138_667, 3.11, 88.21, 99.25),
    ("20-24-252-10", 112_094, 3.85, 96.75, 99.26),
]
# widths of CONV5-3 and FC6; top-1 accuracy is published for the first row and the last
VGG16 = [
    ("512-4096", 138_357_544, 1.00, None, 68.36),
    ("488-3477", 116_092_461, 1.19, None, None),
    ("451-2937", 95_472_287, 1.45, None, None),
    ("430-2479", 80_826_839, 1.71, None, None),
    ("420-2121", 70_731_673, 1.96, None, None),
    ("400-1787", 60_646_115, 2.28, None, None),
    ("390-1513", 53_365_677, 2.59, None, 70.44),
]
# The data that a network must have been trained on for its accuracy to mean the same.
ON = {("lenet5", "mnist"): LENET5}
