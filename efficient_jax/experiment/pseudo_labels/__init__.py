"""What a teacher predicts for unlabelled images, and which of it a stage learns: stored, and judged."""
