"""Figures as SVG text that keeps its words; nothing here reads a store."""
