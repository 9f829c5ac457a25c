"""Boxes and what is done with them: overlap, non-maximum suppression, fusion of detectors, mean average precision."""
