"""The page of a run: one self-contained HTML file, made of plain values; nothing here knows a run folder."""
