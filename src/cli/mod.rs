//! One file per subcommand (skeleton).
