"""``lightning-petl doctor``: whether a machine, or a cluster, can do what training needs, and what is wrong."""
