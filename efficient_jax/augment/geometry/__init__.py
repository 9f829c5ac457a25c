"""Changes of shapes: flips and crops, affine and elastic ones, and neighbours fused into one resample."""
