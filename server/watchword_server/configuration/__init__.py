"""The one format operators write: a YAML file in; stored entries and a typed rule set out. Refused whole, with every problem."""
