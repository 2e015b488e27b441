"""Files on disk: which are there and sound, and copies of a data set that decode fast."""
