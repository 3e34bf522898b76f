"""The `watchword` command: `serve`, and what operators do to a server through its socket."""
