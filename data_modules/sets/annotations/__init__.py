"""Read annotation files: JSON, lists of users, and the columns of lists without a header."""
