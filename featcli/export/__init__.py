"""Models that leave the tool: run on images in a process of their own, and compared, before they are written."""
