"""The folder of a run: its files, the images that it was made from, and going on with an unfinished one."""
