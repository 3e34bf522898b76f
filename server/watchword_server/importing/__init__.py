"""Another account's rules as rule files: what can be taken over, and by name what cannot. Nothing becomes wider on the way."""
