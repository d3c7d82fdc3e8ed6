"""Where backbones come from. To add a source, write a module like these and name it in `registry`."""
