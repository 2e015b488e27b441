"""The commands on data: index, ingest, build a feature cache."""
