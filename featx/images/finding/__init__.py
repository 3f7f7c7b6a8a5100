"""Where the images of a source are: the walk of its folders, what layout they have, what an index holds."""
