"""The commands, one file per subcommand: a checked config in, an answer out."""
