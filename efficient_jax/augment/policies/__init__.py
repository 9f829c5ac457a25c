"""Policies: operations drawn at random, one after the other; `engine` runs what they draw."""
