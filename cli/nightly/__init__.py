"""Every night: the commands of a configuration, one after another."""
