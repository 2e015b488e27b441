"""Hold the layers that several methods share; none of them knows a method."""
