"""Who is analysed: the phenotype table, its join with the images, and its columns as targets."""
