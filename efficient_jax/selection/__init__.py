"""Which images to label next: pure functions of features, probabilities and labels that return indices in order.

They have the same arguments: what is known of n images, the number of images to choose, the indices of images that are
labelled (or for another reason not to be chosen, but to be known as covered), and a seed. Equal arguments give equal
choices.
"""
