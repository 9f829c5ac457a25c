"""Enters labels in the browser: a page served from this machine, and a log that loses no answer."""
