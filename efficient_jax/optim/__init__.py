"""The optimizer of a stage: rules for learning rates, schedules, durations."""
