"""What stands on the trunk's feature: linear, text and similarity heads."""
