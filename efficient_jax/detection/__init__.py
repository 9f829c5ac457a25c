"""Boxes of objects: overlap, non-maximum suppression, fusion of detectors, mean average precision, COCO files."""
