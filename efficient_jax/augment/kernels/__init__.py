"""What the operations are made of: packed pixels, dtypes, loops, resamplers, and the targets that move along."""
