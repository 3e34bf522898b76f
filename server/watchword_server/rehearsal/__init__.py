"""Rules without a server: a rule file made ready to decide, scenarios, warnings, and what a change would change."""
