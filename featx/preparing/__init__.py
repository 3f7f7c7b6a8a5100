"""Raw heads to what networks want: bias correction, brain extraction, registration to MNI152, a BIDS derivative."""
