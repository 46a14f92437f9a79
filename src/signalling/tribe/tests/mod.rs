//! The document's checklist (names in brackets: its line), media sessions, the recorded conversation, and arbitrary input.

mod calls;
mod hostile;
mod media;
mod relay;
mod transcript;
mod world;
