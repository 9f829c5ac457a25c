"""Measurements before training: statistics of a dataset, previews of augmentation, class bias of trained members."""
