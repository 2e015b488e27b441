"""Compare finished runs: what must be equal, what differs, and by how much the results do."""
