"""What `watchword doctor proxy` finds in a proxy's configuration: ways past the question, and answers that a client can forge.

A module for each proxy reads the configuration as that proxy does and tells what it found. It is a help and no proof: what a file
does not show (another file, a module, an environment) it cannot know, and where it notices that, it says so.
"""
