//! Board files: how they are read, checked, overridden and matched to the machine.

use std::path::Path;

use super::Board;

/// Why there is no board.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// No file of that name.
    #[error("there is no board file {name}")]
    Unknown {
        /// The name asked for.
        name: String,
    },
}

pub(super) fn recognise(_dir: &Path, _forced: Option<&str>, _root: &Path) -> Result<Board, BoardError> {
    Ok(generic())
}

pub(super) fn generic() -> Board {
    Board::default()
}
