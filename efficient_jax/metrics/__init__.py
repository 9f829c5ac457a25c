"""Metrics on the host, in numpy: accuracy with intervals, classification, calibration, agreement of models."""
