"""Boxes of objects: a detector's targets and loss, suppression, fusion, mean average precision, COCO files."""
