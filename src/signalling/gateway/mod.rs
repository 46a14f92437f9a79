//! PURE. What the dialects of meshes share (algorea, PeerJS, Vamp): whom their clients are shown, and what becomes of the
//! connections that end at Portico.
//!
//! | file | what |
//! |---|---|
//! | `roster` | which others a client is shown, and how each is reached |
//! | `links` | the session's connections that end at Portico: offers, answers and candidates to commands, notices to events |
//! | `gathering` | holds a description for an addressee that cannot trickle until its candidates are in |
//! | `framing` | which dialects may meet directly, by how their data channels look |
//! | `ids` | the forms in which dialects write a member's id |
//!
//! ```text
//!                       ┌─ Reach::Direct ──► Command::Tell(Signal) ──► the other's dialect (Gathering, if it cannot trickle)
//!  client's offer to X ─┤   Roster, meet_directly
//!                       └─ Reach::Portico ─► Links::offered ──► Command::Meet … Notice::Description ──► LinkEvent::Answer
//! ```

mod framing;
mod gathering;
mod ids;
mod links;
mod roster;
#[cfg(test)]
mod tests;

pub use framing::{MEETINGS, Meets, meet_directly};
pub use gathering::Gathering;
pub use ids::{IdForm, room_member};
pub use links::{Again, Call, LinkEvent, LinkKey, Links, Rules, TooMany};
pub use roster::{Change, Reach, Roster, Shown, shown};
