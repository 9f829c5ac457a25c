"""Evaluates trained stages and files of predictions: single members, votes, soups, slices, out-of-fold predictions."""
