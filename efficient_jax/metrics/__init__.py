"""Figures of merit on the host: accuracy with intervals, classification, calibration, agreement of answers."""
