"""What is larger than a step: records of world size, several processes, and what grows how."""
