"""Hold what papers publish about their recipes, beside the recipes themselves: data, read without torch."""
