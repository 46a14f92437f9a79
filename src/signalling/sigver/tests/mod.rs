//! Sessions, groups and rooms together, without IO and in simulated time.

mod conversation;
mod heartbeat;
mod hostile;
mod place;
mod portico;
mod world;
