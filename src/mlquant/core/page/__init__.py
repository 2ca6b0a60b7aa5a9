"""What pages that play speech have in common."""

from pathlib import Path


def upsampling() -> str:
    """Return the script that brings speech from 8 to 48 kHz in a browser."""
    return Path(__file__).with_name("upsample.js").read_text(encoding="utf-8")
