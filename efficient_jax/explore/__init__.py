"""What there is before training: what data are like, what operations do to them and to each class."""
