"""What is promised, by area; ``tests.requirements`` puts it together."""
