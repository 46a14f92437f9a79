//! What data channels carry.

pub mod framing;
pub mod value;

pub use framing::Framing;
