//! The dialect with real rooms, and no IO: what each client hears of the others.

mod conversation;
mod forwarding;
mod hostile;
mod meeting;
mod presence;
mod world;
