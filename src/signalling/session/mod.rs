//! Runs one dialect over one connection (skeleton).
