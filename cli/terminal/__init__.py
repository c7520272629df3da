"""What all commands share: options, printing, the error boundary."""
