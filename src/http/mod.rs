//! Router, API handlers, error body, page (skeleton).
