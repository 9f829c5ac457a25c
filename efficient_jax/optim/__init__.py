"""The optimizer of a stage: learning-rate rules, learning-rate schedules, and durations in steps."""
