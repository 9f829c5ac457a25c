"""Sources of images, honest splits, and the order in which they are fed."""
