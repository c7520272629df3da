"""Backbones that are not open_clip's: of transformers and of timm."""
