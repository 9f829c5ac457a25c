"""From what members predict to one answer."""
