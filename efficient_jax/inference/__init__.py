"""What is made of predictions: of several views of an image, or of several models."""
