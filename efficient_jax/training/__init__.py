"""The train step and its loop: parallel devices, state, batches, checkpoints, averaging."""
