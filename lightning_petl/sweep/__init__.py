"""Train every combination of a grid on this machine, each in a process and a folder of its own."""
