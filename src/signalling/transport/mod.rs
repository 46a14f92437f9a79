//! Carriers of frames (skeleton).
