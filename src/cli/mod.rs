//! One file per subcommand (skeleton).

pub mod devices;
pub mod doctor;
pub mod plan;
mod print;
