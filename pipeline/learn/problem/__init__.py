"""What there is to learn: features, targets, scenarios, configuration."""
