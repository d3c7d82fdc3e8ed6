"""What several commands do, as functions of values: no command is known here, and no command line."""
