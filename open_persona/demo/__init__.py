"""What the demo needs in place of a paid model and of the open internet: a scripted model and a small upstream."""
