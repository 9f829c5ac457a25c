"""Trained stages and files of predictions, judged from disk: single members, votes, soups, slices, out-of-fold."""
