//! Wiring: the one module that may know every other (skeleton).
