"""What a checkpoint holds, written whole and read without trust."""
