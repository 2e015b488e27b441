"""Collectives over ranks, FSDP2 sharding and the bytes that both send."""
