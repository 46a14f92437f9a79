//! The broker as its clients see it, in simulated time. The numbers are those of the protocol page's checklist.

mod broker;
mod calls;
mod hostile;
mod ringing;
mod transcript;
mod world;
