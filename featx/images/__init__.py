"""Images: find them (`index`), read them (`volume`), check them (`check`), make them (`synthetic`)."""
