"""Studies: one TOML file, and everything that it asks for as calls of featx's own verbs.

keys       what a study may say: the table that reading, help and `featx init` are made of
lines      where its keys stand
reading    the file as a value, or every fault with its line
checking   do its words mean something: files, columns, networks, arms, heads
steps      from what it wants to calls
journal    what is done, of what; what is to be done again
running    one step after the other
writing    studies as text
"""
