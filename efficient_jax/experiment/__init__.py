"""A config, checked, and the run of its stages: dataset, split, targets, initialisation, training, results."""
