"""What was done, in words: methods, citations, the call that repeats a run, what others published."""
