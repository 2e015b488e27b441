"""From clips on disk to batches: data set, views, samplers, loaders, the data module."""
