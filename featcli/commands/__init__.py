"""One file per subcommand: config in, library calls, artefacts out. No command knows another."""
