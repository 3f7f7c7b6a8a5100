"""What is kept: runs and learning curves as folders, fitted heads with their contracts and model cards."""
