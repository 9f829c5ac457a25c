"""Building blocks of the operations: packed pixels, dtypes, loops, resamplers, and the targets that move along."""
