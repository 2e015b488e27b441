"""Files written whole, files of others read without trust, names as text, progress bars."""
