"""Data-efficiency curves: what methods reach with how many patients."""
