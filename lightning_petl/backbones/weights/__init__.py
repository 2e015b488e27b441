"""Read the published weights of a trunk: from the hub, from a file of any common dialect, or in shares."""
