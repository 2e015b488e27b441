"""Write files whole, read files of others without trust, show names and progress."""
