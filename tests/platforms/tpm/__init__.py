"""The device's own key in a TPM, by swtpm."""
