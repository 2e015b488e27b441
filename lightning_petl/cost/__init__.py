"""What a training costs: saved activations, memory, operations, traffic."""
