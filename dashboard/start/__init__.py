"""The page Start: what this is, shown on the example; the runs of this installation; the ways on."""
