"""The wire messages, version 1, generated from `posture.proto` (`make proto`)."""
