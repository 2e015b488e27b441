"""Which frames a clip shows, and the keyed random numbers that choose them."""
