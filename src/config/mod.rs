//! Load, check and describe the configuration (skeleton).
