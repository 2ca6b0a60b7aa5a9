"""Whole codecs: speech to a bit stream and back."""
